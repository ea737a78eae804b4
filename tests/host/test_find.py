"""The QEMU behind a socket is found, or not claimed; other managers' sockets are known."""

import os
import socket
from pathlib import Path

import pytest

from autoballoon.host.find import other_managers_socket, qemu_behind

QEMU = "/usr/bin/qemu-system-x86_64"
HEADER = "Num       RefCount Protocol Flags    Type St Inode Path\n"


class Machine:
    """A made-up /proc beside a directory with a real file where the socket would be."""

    def __init__(self, tmp: Path) -> None:
        self.root = tmp / "root"
        (self.root / "proc").mkdir(parents=True)
        self.socket = tmp / "vm.qmp"
        self.socket.touch()

    def process(
        self,
        pid: int,
        inode: int = 77,
        *,
        exe: str = QEMU,
        comm: str = "qemu-system-x86",
        bound: str | None = None,
        cwd: Path = Path("/"),
        flags: str = "00010000",
    ) -> None:
        """A process that has one socket open; `bound` is the path it gave, the machine's socket unless told."""
        process = self.root / "proc" / str(pid)
        (process / "fd").mkdir(parents=True)
        (process / "net").mkdir()
        (process / "exe").symlink_to(exe)
        (process / "root").symlink_to("/")
        (process / "cwd").symlink_to(cwd)
        (process / "comm").write_text(comm + "\n")
        (process / "fd/0").symlink_to("/dev/null")
        (process / "fd/3").symlink_to(f"socket:[{inode}]")
        line = f"0000000012345678: 00000002 00000000 {flags} 0001 01 {inode:>5} {bound or self.socket}\n"
        (process / "net/unix").write_text(HEADER + line)

    def behind(self, peer: int | None) -> int | None:
        return qemu_behind(str(self.socket), peer, self.root)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_peer_that_is_qemu_and_holds_the_socket(machine: Machine) -> None:
    machine.process(42)
    assert machine.behind(42) == 42


def test_qemu_is_found_behind_a_wrapper_that_made_the_socket(machine: Machine) -> None:
    machine.process(41, exe="/usr/sbin/libvirtd", comm="libvirtd")
    machine.process(42)
    assert machine.behind(41) == 42
    assert machine.behind(None) == 42


def test_a_process_that_is_no_qemu_is_never_the_guest(machine: Machine) -> None:
    machine.process(41, exe="/usr/bin/socat", comm="socat")
    assert machine.behind(41) is None


def test_one_listing_of_all_sockets_does_for_many_and_not_for_one_that_came_later(
    machine: Machine, tmp_path: Path
) -> None:
    lines = machine.root / "proc/42/net/unix"
    for pid, inode in ((42, 77), (43, 78), (44, 79)):
        machine.process(pid, inode, bound=str(tmp_path / f"{pid}.qmp"))
        (tmp_path / f"{pid}.qmp").touch()
        namespace = machine.root / f"proc/{pid}/ns/net"
        namespace.parent.mkdir()
        namespace.symlink_to(f"net:[{tmp_path}]")
    late = machine.root / "proc/44/net/unix"
    lines.write_text(lines.read_text() + (machine.root / "proc/43/net/unix").read_text())
    (machine.root / "proc/43/net/unix").unlink()

    def found(pid: int) -> int | None:
        return qemu_behind(str(tmp_path / f"{pid}.qmp"), pid, machine.root)

    assert found(42) == 42
    assert found(43) == 43, "it was looked up in what was read for the first"
    late.write_text(late.read_text())
    assert found(44) == 44, "it is in no listing but the newest"


def test_a_qemu_that_does_not_hold_the_socket_is_not_believed(machine: Machine) -> None:
    machine.process(42, bound="/run/vms/other.qmp")
    assert machine.behind(42) is None


def test_a_qemu_that_is_only_a_client_of_the_socket_is_not_believed(machine: Machine) -> None:
    machine.process(42, flags="00000000")
    assert machine.behind(42) is None


def test_two_that_may_serve_it_are_not_certain_unless_one_is_the_peer(machine: Machine) -> None:
    machine.process(42, inode=77)
    machine.process(43, inode=78)  # bound the same path after the first one's was removed
    assert machine.behind(None) is None
    assert machine.behind(43) == 43


def test_a_relative_path_and_a_symbolic_link_are_followed(machine: Machine) -> None:
    machine.process(42, bound="vm.qmp", cwd=machine.socket.parent)
    link = machine.socket.with_name("link.qmp")
    link.symlink_to(machine.socket)
    assert qemu_behind(str(link), 42, machine.root) == 42


def test_a_path_with_blanks(machine: Machine) -> None:
    spaced = machine.socket.with_name("my vm.qmp")
    spaced.touch()
    machine.process(42, bound=str(spaced))
    assert qemu_behind(str(spaced), 42, machine.root) == 42


def test_a_qemu_by_its_name_when_its_program_cannot_be_seen(machine: Machine) -> None:
    machine.process(42, exe="/nowhere")
    assert machine.behind(42) == 42


def test_a_peer_that_is_gone_is_not_claimed(machine: Machine) -> None:
    assert machine.behind(42) is None


def test_this_process_listens_but_is_no_qemu(tmp_path: Path) -> None:
    path = tmp_path / "vm.qmp"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert qemu_behind(str(path), os.getpid()) is None


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/run/qemu-server/100.qmp", "Proxmox"),
        ("/var/run/qemu-server/100.qmp", "Proxmox"),
        ("/run/vms/../qemu-server/100.qmp", "Proxmox"),
        ("/var/lib/libvirt/qemu/domain-1-vm/monitor.sock", "libvirt"),
        ("/run/libvirt/qemu/x.sock", "libvirt"),
        ("/run/user/1000/libvirt/qemu/x.sock", "libvirt"),
        ("/home/me/.config/libvirt/qemu/lib/domain-1-vm/monitor.sock", "libvirt"),
    ],
)
def test_other_managers_sockets_are_told_in_a_sentence(path: str, owner: str) -> None:
    says = other_managers_socket(path)
    assert says is not None and says.startswith(path) and owner in says


@pytest.mark.parametrize("path", ["/run/vms/a.qmp", "/run/qemu-servers/a.qmp", "/srv/libvirt/a.qmp", "a.qmp"])
def test_a_socket_of_ones_own_is_free(path: str) -> None:
    assert other_managers_socket(path) is None


def test_a_link_into_another_managers_directory_is_seen_through(tmp_path: Path) -> None:
    link = tmp_path / "vms"
    link.symlink_to("/run/qemu-server")
    assert "Proxmox" in (other_managers_socket(str(link / "100.qmp")) or "")
