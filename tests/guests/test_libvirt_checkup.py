"""What a domain's XML says of its balloon, and how libvirt is missed."""

import sys
import threading
import xml.etree.ElementTree as ET

import pytest

from autoballoon.core.units import MIB
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.libvirt_checkup import Domain, domains, parse
from autoballoon.guests.libvirt_xml import LONGEST_XML
from tests.guests.fake_libvirt import FakeLibvirt

XML = (
    "<domain type='kvm' id='1'><name>one</name><uuid>03A38C53-633c-4266-813a-c0208a2e2041</uuid>"
    "<devices>{}</devices></domain>"
)
UUID = "03a38c53-633c-4266-813a-c0208a2e2041"


def test_a_balloon_with_everything() -> None:
    balloon = (
        "<memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='5'/></memballoon>"
    )
    assert parse(XML.format(balloon)) == Domain(
        uuid=UUID, name="one", balloon=True, autodeflate=True, reporting=True, period_s=5
    )


def test_libvirts_default_balloon_lacks_all_of_it() -> None:
    assert parse(XML.format("<memballoon model='virtio'/>")) == Domain(
        uuid=UUID, name="one", balloon=True, autodeflate=False, reporting=False, period_s=0
    )


@pytest.mark.parametrize("balloon", ["<memballoon model='none'/>", ""])
def test_no_balloon(balloon: str) -> None:
    assert parse(XML.format(balloon)).balloon is False


@pytest.mark.parametrize("xml", ["", "<domain", "x" * (LONGEST_XML + 1)])
def test_what_is_no_xml_is_refused(xml: str) -> None:
    with pytest.raises((ET.ParseError, ValueError)):
        parse(xml)


async def test_without_the_module_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    says = await domains("qemu:///system")
    assert isinstance(says, str)
    assert "python3-libvirt" in says


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeLibvirt:
    api = FakeLibvirt(lambda: 100.0)
    monkeypatch.setitem(sys.modules, "libvirt", api)
    return api


async def test_a_libvirtd_that_cannot_be_used_is_told(
    api: FakeLibvirt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: object, flags: int) -> list[object]:
        raise api.libvirtError("End of file while reading data")

    monkeypatch.setattr("tests.guests.fake_libvirt._Connection.listAllDomains", refuse)
    says = await domains("qemu:///system")
    assert isinstance(says, str)
    assert "does not say which domains run (End of file while reading data)" in says
    api.refuses = "Failed to connect"
    assert "(Failed to connect); look whether its daemon runs" in str(await domains("qemu:///system"))


async def test_qemus_that_were_stopped_hold_up_nobody(api: FakeLibvirt) -> None:
    hung = [api.add(FakeGuest(f"hung-{n}")) for n in range(2)]
    api.add(FakeGuest("well"))
    for domain in hung:
        domain.answers.clear()
    found = await domains("qemu:///system", patience_s=0.05)
    for domain in hung:
        domain.answers.set()
    assert isinstance(found, list)
    said = {one.name: one.trouble for one in found}
    assert said.pop("well") is None
    assert [says and says.partition(";")[0] for says in said.values()] == [
        "its QEMU does not answer libvirt"
    ] * 2
    assert [one.actual for one in found if one.name == "well"] == [512 * MIB]


async def test_a_libvirtd_that_was_stopped_is_not_waited_for(
    api: FakeLibvirt, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()

    def hang(connection: object, flags: int) -> list[object]:
        goes_on.wait()
        return []

    monkeypatch.setattr("tests.guests.fake_libvirt._Connection.listAllDomains", hang)
    says = await domains("qemu:///system", patience_s=0.05)
    goes_on.set()
    assert says == "qemu:///system does not answer; look whether its daemon hangs or was stopped"
