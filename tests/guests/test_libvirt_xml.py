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


CHANNEL = """<channel type='{type}'><source {source}/>
<target type='virtio' name='{name}' state='connected'/></channel>"""
OTHERS = CHANNEL.format(type="unix", source="mode='bind' path='/run/q.sock'", name="org.qemu.guest_agent.0")


def agent_of(**channel: str) -> str | None:
    words = {
        "type": "unix",
        "source": "mode='bind' path='/run/a.sock'",
        "name": "org.autoballoon.0",
    } | channel
    return describe(LIVE.format(devices=OTHERS + CHANNEL.format(**words)), None).agent


def test_the_agents_channel_is_found_by_its_name() -> None:
    assert agent_of() == "/run/a.sock"
    assert agent_of(name="org.other.0") is None
    assert describe(LIVE.format(devices=OTHERS), None).agent is None


@pytest.mark.parametrize(
    "channel",
    [
        {"source": "mode='connect' path='/run/a.sock'"},  # somebody else listens, for his own use
        {"source": "mode='bind' path='a.sock'"},
        {"source": "mode='bind'"},
        {"type": "pty"},
    ],
)
def test_a_channel_at_which_qemu_does_not_listen_is_no_agents(channel: dict[str, str]) -> None:
    assert agent_of(**channel) is None


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
