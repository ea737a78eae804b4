"""What libvirt says of a domain's balloon: its XML and its statistics, read over a read-only connection, for doctor."""

import os
import time
import xml.etree.ElementTree as ET

import msgspec

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import KIB
from autoballoon.guests.libvirt_api import load_libvirt
from autoballoon.guests.libvirt_xml import LONGEST_XML

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


def domains(uri: str) -> list[Domain] | str:
    """The running domains, or why there are none to be seen, in a sentence. Blocks as long as libvirt does."""
    try:
        libvirt = load_libvirt()
    except CouldNot as error:
        return str(error)
    libvirt.registerErrorHandler(lambda context, error: None, None)  # it prints every error by itself
    os.environ.setdefault("LIBVIRT_AUTOSTART", "0")  # to look at a session must not begin one
    try:
        connection = libvirt.openReadOnly(uri)
    except libvirt.libvirtError as error:
        return f"{uri} cannot be opened ({error}); is libvirtd running?"
    try:
        found = []
        for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            try:
                found.append(_with_stats(parse(domain.XMLDesc()), domain.memoryStats()))
            except (libvirt.libvirtError, ET.ParseError, ValueError):
                continue  # it has ended meanwhile
        return found
    except libvirt.libvirtError as error:
        return f"{uri} does not say which domains run ({error}); is libvirtd ending?"
    finally:
        connection.close()


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


def _with_stats(domain: Domain, stats: dict[str, int]) -> Domain:
    last, actual = stats.get("last_update"), stats.get("actual")
    return msgspec.structs.replace(
        domain,
        actual=None if actual is None else actual * KIB,
        answered=None if last is None or not domain.period_s else last > 0,
        age_s=max(0.0, time.time() - last) if last and domain.period_s else None,
    )
