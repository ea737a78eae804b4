"""Which URIs are of this host, and where their pids are."""

import pytest

from autoballoon.core.errors import BadInput
from autoballoon.guests.libvirt_uri import check_uri, key_of, pid_folders, uri_of

GOOD = [
    "qemu:///system",
    "qemu:///session",
    "qemu+unix:///system",
    "qemu:///session?socket=/tmp/l/libvirt-sock",
]


@pytest.mark.parametrize("uri", GOOD)
def test_this_hosts_qemu(uri: str) -> None:
    assert check_uri(uri) == uri
    assert uri_of(key_of(uri, "1234")) == uri


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("qemu+ssh://other/system", "does not name this host's QEMU"),
        ("qemu://other/system", "names another host"),
        ("qemu:///embed?root=/tmp", "does not name this host's QEMU"),
        ("test:///default", "does not name this host's QEMU"),
        ("xen:///system", "does not name this host's QEMU"),
        ("qemu:///session?socket=relative", "no parameter but one socket=/PATH"),
        ("qemu:///session?command=/bin/sh", "no parameter but one socket=/PATH"),
        ("qemu:///session?socket", "is not a URI"),
        ("qemu:///system#x", "names another host"),
        ("qemu://[/system", "is not a URI"),
        ("", "does not name"),
    ],
)
def test_all_others_are_refused_with_the_mend(uri: str, words: str) -> None:
    with pytest.raises(BadInput, match="write qemu:///system") as refused:
        check_uri(uri)
    assert words in str(refused.value)


@pytest.mark.parametrize("key", ["/run/vms/a#b.qmp", "/run/vms/a.qmp", "", "#", "qemu+ssh://x/system#1"])
def test_other_keys_are_no_domains(key: str) -> None:
    assert uri_of(key) is None


def test_where_pids_are_written() -> None:
    environment = {"XDG_RUNTIME_DIR": "/run/user/7"}
    assert pid_folders("qemu:///system", environment) == ("/run/libvirt/qemu",)
    assert pid_folders("qemu:///session", environment) == ("/run/user/7/libvirt/qemu/run",)
    assert pid_folders("qemu:///session?socket=/x/libvirt-sock", {}) == ("/x/qemu/run",)
    assert pid_folders("qemu:///system?socket=/x/libvirt-sock", {}) == ("/x/qemu",)
