"""Whose socket is it: the QEMU behind a monitor socket, and sockets that another manager owns."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from autoballoon.host.files import read_if_there

_ACCEPTS = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix: the socket listens
_LISTED = re.compile(r"^\S+: \S+ \S+ ([0-9A-Fa-f]+) \S+ \S+ +(\d+) (.+)$")

_OWNED = (
    (re.compile(r"^(/var)?/run/qemu-server(/|$)"), "Proxmox VE"),
    (re.compile(r"^(/var/lib|/var/run|/run)/libvirt(/|$)"), "libvirt"),
    (re.compile(r"^/run/user/\d+/libvirt(/|$)|/\.config/libvirt(/|$)"), "libvirt"),
)


def other_managers_socket(path: str) -> str | None:
    """A sentence when the socket at `path` belongs to Proxmox or libvirt; None when it is free to use.

    A monitor socket serves one client at a time, so whoever holds it locks the owner's own tools out.
    Symbolic links are followed; the path need not exist.
    """
    for where in (os.path.normpath(path), os.path.realpath(path)):
        owner = manager_of(where)
        if owner is not None:
            return (
                f"{path} is the monitor of {owner}, whose own tools need it;"
                " give the guest a second one with -qmp unix:PATH,server=on,wait=off"
            )
    return None


def manager_of(path: str) -> str | None:
    """Who keeps its sockets where `path` is: libvirt, Proxmox, or nobody known."""
    return next((owner for pattern, owner in _OWNED if pattern.search(path)), None)


def qemu_behind(socket_path: str, peer_pid: int | None, root: Path = Path("/")) -> int | None:
    """The pid of the QEMU that serves the unix socket at `socket_path`; None when that is not certain.

    `peer_pid` is what SO_PEERCRED says: who called listen(), which is QEMU itself, or a wrapper or libvirt
    that passed the socket on. So it is believed only when it is a QEMU that holds the listening socket;
    otherwise exactly one QEMU among all processes must hold it. Reading others' open files takes root.
    """
    proc = root / "proc"
    if peer_pid is not None and _serves(proc, peer_pid, socket_path):
        return peer_pid
    pids = [int(each.name) for each in proc.iterdir() if each.name.isdigit()]
    serving = [pid for pid in pids if _serves(proc, pid, socket_path)]
    return serving[0] if len(serving) == 1 else None


def _serves(proc: Path, pid: int, socket_path: str) -> bool:
    """Whether the process is a QEMU that has `socket_path` open and listens on it."""
    process = proc / str(pid)
    if not is_qemu(process):
        return False
    return any(
        _is_same_file(process, bound, socket_path) for _, bound in _listening(process, _sockets(process))
    )


def is_qemu(process: Path) -> bool:
    """Whether the program or the name of the process in /proc/PID says so; as root both can be read of every one."""
    try:
        program = (process / "exe").readlink().name
    except OSError:
        program = ""  # a kernel thread, gone, or not ours to see
    return "qemu" in program or b"qemu" in (read_if_there(process / "comm") or b"")


def _sockets(process: Path) -> Iterator[int]:
    """The inodes of the sockets that a process has open."""
    try:
        open_files = list((process / "fd").iterdir())
    except OSError:
        return
    for each in open_files:
        try:
            target = str(each.readlink())
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            yield int(target[len("socket:[") : -1])


def _listening(process: Path, held: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Inode and path of those of the sockets that listen, in the process's own network namespace.

    A host of a thousand guests has some thousands of unix sockets: only the lines in question are looked at closely.
    """
    text = read_if_there(process / "net/unix") or b""
    for inode in held:
        needle = b" %d " % inode
        at = text.find(needle)
        while at >= 0:
            line = text[text.rfind(b"\n", 0, at) + 1 : text.find(b"\n", at)].decode(errors="surrogateescape")
            seen = _LISTED.fullmatch(line)
            if seen is not None and int(seen[2]) == inode:
                if int(seen[1], 16) & _ACCEPTS:
                    yield inode, seen[3]
                break
            at = text.find(needle, at + 1)  # that was in the path of another socket


def _is_same_file(process: Path, bound: str, socket_path: str) -> bool:
    """Whether the path that the process bound is `socket_path`: links, a working directory or a chroot aside."""
    seen = process / "root" / bound.lstrip("/") if bound.startswith("/") else process / "cwd" / bound
    try:
        return seen.samefile(socket_path)
    except OSError:
        return False
