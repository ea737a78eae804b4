"""What a QEMU process shows of itself: the forms in which command lines come, and what /proc adds."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.units import GIB, KIB
from autoballoon.host.qemu import all_qemus, look, numbers, parse

BARE = shlex.split(
    "qemu-system-x86_64 -name web-1 -machine q35 -m 512 -chardev stdio,id=console,signal=off -serial chardev:console "
    "-device virtio-balloon-pci,id=balloon0,deflate-on-oom=on,guest-stats-polling-interval=1 "
    "-qmp unix:/run/vms/web-1.qmp,server=on,wait=off -qmp unix:/run/vms/web-1.second,server=on,wait=off "
    "-chardev socket,id=qga0,path=/run/vms/web-1.qga,server=on,wait=off "
    "-device virtserialport,chardev=qga0,name=org.qemu.guest_agent.0"
)
LIBVIRT = [
    *("/usr/bin/qemu-system-x86_64", "-name", "guest=one,debug-threads=on", "-S", "-object"),
    '{"qom-type":"secret","id":"masterKey0","format":"raw","file":"/var/lib/libvirt/qemu/domain-1-one/master-key.aes"}',
    *("-machine", "pc-q35-7.2,usb=off,memory-backend=pc.ram", "-uuid", "03A38C53-633c-4266-813a-c0208a2e2041"),
    *("-chardev", "socket,id=charmonitor,fd=22,server=on,wait=off"),
    *("-mon", "chardev=charmonitor,id=monitor,mode=control"),
    "-device",
    '{"driver":"virtio-balloon-pci","id":"balloon0","deflate-on-oom":true,"free-page-reporting":false,"bus":"pci.1"}',
]  # fmt: skip
PROXMOX = shlex.split(
    "/usr/bin/kvm -id 100 -name backup,debug-threads=on -no-shutdown -chardev "
    "socket,id=qmp,path=/var/run/qemu-server/100.qmp,server=on,wait=off -mon chardev=qmp,mode=control "
    "-device virtio-balloon-pci,id=balloon0,bus=pci.0,addr=0x3,free-page-reporting=on "
    "-global virtio-balloon-pci.deflate-on-oom=on -global virtio-balloon-pci.free-page-reporting=off"
)


def test_a_bare_command_line() -> None:
    qemu = parse(7, BARE)
    assert (qemu.pid, qemu.name, qemu.uuid, qemu.manager) == (7, "web-1", None, None)
    assert qemu.qmp == ("/run/vms/web-1.qmp", "/run/vms/web-1.second")
    assert qemu.agent == "/run/vms/web-1.qga"
    assert qemu.balloon is not None
    assert qemu.balloon["deflate-on-oom"] == "on"
    assert "free-page-reporting" not in qemu.balloon


def test_libvirts_command_line() -> None:
    qemu = parse(7, LIBVIRT)
    assert (qemu.name, qemu.manager, qemu.connection) == ("one", "libvirt", "qemu:///system")
    assert qemu.uuid == "03a38c53-633c-4266-813a-c0208a2e2041"
    assert qemu.qmp == ()
    assert qemu.balloon is not None
    assert (qemu.balloon["deflate-on-oom"], qemu.balloon["free-page-reporting"]) == ("on", "off")


def test_proxmoxs_command_line() -> None:
    qemu = parse(7, PROXMOX)
    assert (qemu.name, qemu.manager) == ("backup", "Proxmox VE")
    assert qemu.qmp == ("/var/run/qemu-server/100.qmp",)
    assert qemu.balloon is not None
    assert (qemu.balloon["deflate-on-oom"], qemu.balloon["free-page-reporting"]) == ("on", "on")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["qemu-system-x86_64"],
        ["qemu-system-x86_64", "-device"],
        ["qemu-system-x86_64", "-device", "{not json", "-name", "", "-chardev", "", "-mon", "mode=control"],
        ["qemu-system-x86_64", "-device", '{"driver":null}', "-name", "=,=", "-qmp", "stdio"],
        ["qemu-system-x86_64", "-device", "[" * 50_000, "-object", '{"qom-type":' + "[" * 50_000],
    ],
)  # fmt: skip
def test_words_that_say_nothing_are_no_error(words: list[str]) -> None:
    qemu = parse(7, words)
    assert (qemu.qmp, qemu.balloon, qemu.manager) == ((), None, None)


WORD = st.text(max_size=30) | st.sampled_from(
    [
        "-device",
        "-chardev",
        "-mon",
        "-name",
        "-object",
        "-qmp",
        "-global",
        "-uuid",
        "{}",
        '{"driver":1}',
        "virtio-balloon",
    ]
)


@given(st.lists(WORD, max_size=12))
def test_no_words_at_all_are_an_error(words: list[str]) -> None:
    parse(7, words)


def process(root: Path, pid: int, words: list[str], status: str = "", comm: str = "qemu-system-x86") -> Path:
    folder = root / "proc" / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    (folder / "comm").write_text(comm + "\n")
    (folder / "status").write_text(f"Name:\t{comm}\n{status}")
    return folder


def test_what_proc_adds(tmp_path: Path) -> None:
    status = "VmLck:\t  1048576 kB\nHugetlbPages:\t 2048 kB\nMems_allowed_list:\t0-1\n"
    folder = process(tmp_path, 42, BARE, status)
    (folder / "fd/9").symlink_to("anon_inode:kvm-vfio")
    (folder / "numa_maps").write_text(
        "7f00 default file=/usr/lib/libc.so.6 mapped=4 N0=4\n"
        "7f10 bind:1 anon=9 dirty=9 N1=9\n"
        "7f20 bind:0 anon=70000 dirty=70000 N0=70000\n"
    )
    qemu = look(42, tmp_path)
    assert qemu is not None
    assert (qemu.vfio, qemu.locked, qemu.hugetlb, qemu.nodes) == (True, GIB, 2048 * KIB, (0,))


def test_a_domain_of_a_users_session_is_reached_through_that_users_socket(tmp_path: Path) -> None:
    words = [word.replace("/var/lib/libvirt/", "/home/me/.config/libvirt/") for word in LIBVIRT]
    process(tmp_path, 42, words, "Uid:\t1000\t1000\t1000\t1000\n")
    qemu = look(42, tmp_path)
    assert qemu is not None
    assert qemu.manager == "libvirt"
    assert qemu.connection == "qemu:///session?socket=/run/user/1000/libvirt/libvirt-sock"


def test_a_process_that_nothing_pins_or_binds(tmp_path: Path) -> None:
    folder = process(tmp_path, 42, BARE, "VmLck:\t 0 kB\nHugetlbPages:\t 0 kB\nMems_allowed_list:\t0-1\n")
    (folder / "fd/9").symlink_to("/dev/kvm")
    qemu = look(42, tmp_path)
    assert qemu is not None
    assert (qemu.vfio, qemu.locked, qemu.hugetlb, qemu.nodes) == (False, 0, 0, (0, 1))


def test_only_those_that_run_a_guest(tmp_path: Path) -> None:
    process(tmp_path, 1, ["/sbin/init"], comm="systemd")
    process(tmp_path, 30, ["qemu-img", "convert", "-m", "8", "a", "b"], comm="qemu-img")
    process(tmp_path, 31, ["/usr/bin/qemu-ga"], comm="qemu-ga")
    process(tmp_path, 40, PROXMOX)
    process(tmp_path, 9, BARE)
    (tmp_path / "proc/self").symlink_to("1")
    assert [qemu.pid for qemu in all_qemus(tmp_path)] == [9, 40]
    assert look(77, tmp_path) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0,)),
        ("0-2,4\n", (0, 1, 2, 4)),
        ("", ()),
        ("x", ()),
        ("0-", (0,)),
        ("1-99999999", ()),
        ("-1", ()),
    ],
)
def test_lists_of_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert numbers(text) == expected
