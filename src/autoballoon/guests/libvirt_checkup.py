"""What libvirt says of a domain's balloon: its XML and its statistics, read over a read-only connection, for doctor."""

import os
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import KIB
from autoballoon.guests import libvirt_orders as orders
from autoballoon.guests.libvirt_api import load_libvirt
from autoballoon.guests.libvirt_crew import Crew, Full, Late
from autoballoon.guests.libvirt_lanes import Lanes, Lost, Refused
from autoballoon.guests.libvirt_xml import LONGEST_XML

PATIENCE_S = 2.0
"""For one answer; libvirt waits for a QEMU that was stopped without end."""
_MOST_SECONDS = 1 << 31


class Domain(msgspec.Struct, frozen=True):
    """One running domain; None is unknown."""

    uuid: str
    name: str
    balloon: bool | None = None
    autodeflate: bool | None = None
    reporting: bool | None = None
    period_s: int | None = None
    actual: int | None = None
    age_s: float | None = None
    answered: bool | None = None
    trouble: str | None = None
    """What keeps its QEMU from being asked."""


async def domains(uri: str, patience_s: float = PATIENCE_S) -> list[Domain] | str:
    """The running domains, or why there are none to be seen, in a sentence. Waits for nobody without end."""
    try:
        api = load_libvirt()
    except CouldNot as error:
        return str(error)
    api.registerErrorHandler(lambda context, error: None, None)  # it prints every error by itself
    os.environ.setdefault("LIBVIRT_AUTOSTART", "0")  # to look at a session must not begin one
    lanes = Lanes(api, uri, Crew(), reads_only=True)
    try:
        found = await lanes.call("listing", partial(_listed, api), patience_s)
        return [await _with_stats(lanes, domain, patience_s) for domain in found]
    except (Late, Full):
        return f"{uri} does not answer; look whether its daemon hangs or was stopped"
    except (Lost, Refused) as error:
        return f"{uri} does not say which domains run ({error}); look whether its daemon runs"
    finally:
        await lanes.close(0.2)


def _listed(api: Any, connection: Any) -> list[Domain]:
    """The running domains by their XML, which asks no QEMU."""
    found = []
    for domain in connection.listAllDomains(api.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            found.append(parse(domain.XMLDesc(0)))
        except (api.libvirtError, ET.ParseError, ValueError):
            continue  # it has ended meanwhile
    return found


async def _with_stats(lanes: Lanes, domain: Domain, patience_s: float) -> Domain:
    """The domain with what its QEMU tells, when that answers."""
    try:
        look = await lanes.call(
            "looking", lambda connection: orders.look(connection.lookupByUUIDString(domain.uuid)), patience_s
        )
    except Late:
        says = f"its QEMU does not answer libvirt; `virsh domstate {domain.name} --reason` tells whether it was stopped"
        return msgspec.structs.replace(domain, trouble=says)
    except (Full, Lost, Refused):
        return domain  # it has ended, or so many hang that nobody else is asked
    return _learnt(domain, look)


def parse(xml: str) -> Domain:
    """What a live domain's XML says. ValueError or ParseError when it is none."""
    if len(xml) > LONGEST_XML:
        raise ValueError("too long")
    root = ET.fromstring(xml)
    balloon = root.find("devices/memballoon")
    kind = "none" if balloon is None else balloon.get("model", "none")
    domain = Domain(
        uuid=(root.findtext("uuid") or "").lower(),
        name=root.findtext("name") or "",
        balloon=kind.startswith("virtio"),
    )
    if balloon is None or not domain.balloon:
        return domain
    period = balloon.find("stats")
    seconds = "0" if period is None else period.get("period", "0")
    return msgspec.structs.replace(
        domain,
        autodeflate=balloon.get("autodeflate") == "on",
        reporting=balloon.get("freePageReporting") == "on",
        period_s=min(int(seconds), _MOST_SECONDS) if seconds.isdigit() else None,
    )


def _learnt(domain: Domain, stats: Mapping[str, Any]) -> Domain:
    last, actual = stats.get("last_update"), stats.get("actual")
    return msgspec.structs.replace(
        domain,
        actual=None if actual is None else actual * KIB,
        answered=None if last is None or not domain.period_s else last > 0,
        age_s=max(0.0, time.time() - last) if last and domain.period_s else None,
    )
