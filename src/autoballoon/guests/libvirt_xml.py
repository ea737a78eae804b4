"""What a domain's XML says of its memory and its balloon."""

import xml.etree.ElementTree as ET

import msgspec

from autoballoon.core.units import KIB

PORT = "org.autoballoon.0"
"""The name of the agent's virtio-serial port (docs/reference/agent.md)."""
LONGEST_XML = 4 << 20
"""Bytes; libvirt's own limit for one string of its protocol (VIR_NET_MESSAGE_STRING_MAX)."""


class Unreadable(Exception):
    """Not the XML of a domain; the text says why."""


class Description(msgspec.Struct, frozen=True):
    """What matters of a domain's XML; bytes and seconds."""

    ceiling: int
    """The size that its owner wants it to have; 0: no bound but its maximum."""
    has_balloon: bool
    may_deflate: bool
    """The device offers DEFLATE_ON_OOM (`autodeflate='on'`)."""
    period_s: int
    """Between two requests for statistics; 0: off."""
    has_virtio_mem: bool
    agent: str | None = None
    """The socket of the channel of our agent, at which QEMU listens."""


def describe(live: str, inactive: str | None) -> Description:
    """The description of a running domain; `inactive` is the XML of its next start, None for a transient one.

    The live <currentMemory> is the balloon as it stands, which is our own doing; what its owner wants is in the
    inactive XML. A transient domain has none, so that its maximum is its only bound. Unreadable when `live` is.
    """
    domain = _parse(live)
    balloon = domain.find("devices/memballoon")
    model = "none" if balloon is None else balloon.get("model", "virtio")
    stats = None if balloon is None else balloon.find("stats")
    return Description(
        ceiling=0 if inactive is None else _current(_parse(inactive)),
        has_balloon=model.startswith("virtio"),
        may_deflate=balloon is not None and balloon.get("autodeflate") == "on",
        period_s=0 if stats is None else _whole(stats.get("period")),
        has_virtio_mem=any(
            device.get("model") == "virtio-mem" for device in domain.findall("devices/memory")
        ),
        agent=_agent(domain),
    )


def _agent(domain: ET.Element) -> str | None:
    for channel in domain.findall("devices/channel[@type='unix']"):
        source, target = channel.find("source"), channel.find("target")
        if source is None or target is None or target.get("name") != PORT:
            continue
        path = source.get("path", "")
        if source.get("mode") == "bind" and path.startswith("/"):  # else somebody else listens
            return path
    return None


def _parse(text: str) -> ET.Element:
    if len(text) > LONGEST_XML:
        raise Unreadable("its XML is longer than 4 MiB")
    try:
        return ET.fromstring(text)
    except ET.ParseError as error:
        raise Unreadable(f"its XML cannot be read ({error})") from None


def _current(domain: ET.Element) -> int:
    for tag in ("currentMemory", "memory"):
        element = domain.find(tag)
        if element is not None and element.get("unit", "KiB") == "KiB":  # the only unit that libvirt writes
            return _whole(element.text) * KIB
    return 0


def _whole(text: str | None) -> int:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
