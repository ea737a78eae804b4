"""What matters of a domain's XML."""

import pytest

from autoballoon.core.units import MIB
from autoballoon.guests.libvirt_xml import Unreadable, describe

LIVE = """<domain type='kvm' id='3'><name>one</name><memory unit='KiB'>1048576</memory>
<currentMemory unit='KiB'>524288</currentMemory><devices>{devices}</devices></domain>"""
BALLOON = (
    "<memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='5'/></memballoon>"
)


def test_the_ceiling_is_the_inactive_current_memory() -> None:
    inactive = LIVE.replace("524288", "786432")
    assert describe(LIVE, inactive).ceiling == 768 * MIB
    without = "<domain><memory unit='KiB'>1048576</memory></domain>"
    assert describe(LIVE, without).ceiling == 1024 * MIB
    assert describe(LIVE, None).ceiling == 0


def test_the_balloon_and_its_statistics() -> None:
    found = describe(LIVE.format(devices=BALLOON), None)
    assert found.has_balloon and found.may_deflate and found.period_s == 5 and not found.has_virtio_mem
    plain = describe(LIVE.format(devices="<memballoon model='virtio'/>"), None)
    assert plain.has_balloon and not plain.may_deflate and plain.period_s == 0
    older = describe(LIVE.format(devices="<memballoon model='virtio-transitional'/>"), None)
    assert older.has_balloon
    assert not describe(LIVE.format(devices="<memballoon model='none'/>"), None).has_balloon
    assert not describe(LIVE.format(devices=""), None).has_balloon


@pytest.mark.parametrize("words", ["", "-5", "1" * 40, "³", "many"])
def test_numbers_that_are_none_bound_nothing(words: str) -> None:
    inactive = f"<domain><currentMemory unit='KiB'>{words}</currentMemory></domain>"
    assert describe(LIVE, inactive).ceiling == 0


@pytest.mark.parametrize("text", ["", "domain", "<domain>", "<a/><b/>", "\0", LIVE[:-3]])
def test_what_is_no_xml_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match="cannot be read"):
        describe(text, None)
    with pytest.raises(Unreadable, match="cannot be read"):
        describe(LIVE, text)


def test_endless_xml_is_refused() -> None:
    with pytest.raises(Unreadable, match="4 MiB"):
        describe("<domain>" + " " * (5 << 20) + "</domain>", None)
