"""What a domain's XML says of its balloon, and how libvirt is missed."""

import sys
import xml.etree.ElementTree as ET

import pytest

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


def test_without_the_module_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    says = domains("qemu:///system")
    assert isinstance(says, str)
    assert "python3-libvirt" in says


def test_a_libvirtd_that_ends_while_it_is_asked_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ending(FakeLibvirt):
        VIR_CONNECT_LIST_DOMAINS_ACTIVE = 1

        def openReadOnly(self, uri: str) -> "Ending":
            return self

        def listAllDomains(self, flags: int) -> list[object]:
            raise self.libvirtError("End of file while reading data")

        def close(self) -> None:
            pass

    monkeypatch.setitem(sys.modules, "libvirt", Ending(lambda: 0.0))
    says = domains("qemu:///system")
    assert isinstance(says, str)
    assert "does not say which domains run (End of file while reading data)" in says
