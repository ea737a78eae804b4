"""Whose socket is it: the QEMU behind a monitor socket, and sockets that another manager owns."""

import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from autoballoon.host.files import read_if_there

_ACCEPTS = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix: the socket listens
_LISTED = re.compile(r"^\S+: \S+ \S+ ([0-9A-Fa-f]+) \S+ \S+ +(\d+) (.+)$")

KEPT_S = 1.0
"""A listing of all unix sockets is good for so long: a thousand guests that are met at once would otherwise be looked
for in a thousand listings of some thousand lines each (1.2 s of processor time in all, and 0.2 s so)."""

_OF_A_SESSION = re.compile(r"^/run/user/\d+/libvirt(/|$)|/\.config/libvirt(/|$)")
_OWNED = (
    (re.compile(r"^(/var)?/run/qemu-server(/|$)"), "Proxmox VE"),
    (re.compile(r"^(/var/lib|/var/run|/run)/libvirt(/|$)"), "libvirt"),
    (_OF_A_SESSION, "libvirt"),
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


def is_of_a_session(path: str) -> bool:
    """Whether a user's own libvirt keeps its sockets where `path` is."""
    return _OF_A_SESSION.search(path) is not None


def qemu_behind(socket_path: str, peer_pid: int | None, root: Path = Path("/")) -> int | None:
    """The pid of the QEMU that serves the unix socket at `socket_path`; None when that is not certain.

    `peer_pid` is what SO_PEERCRED says: who called listen(), which is QEMU itself, or a wrapper or libvirt
    that passed the socket on. So it is believed only when it is a QEMU that holds the listening socket;
    otherwise exactly one QEMU among all processes must hold it. Reading others' open files takes root.
    """
    proc, now = root / "proc", time.monotonic()
    # Who bound its socket since then is not in an older listing; the inode of one that it has open is nobody else's.
    if peer_pid is not None and any(
        _serves(proc, peer_pid, socket_path, since) for since in (now - KEPT_S, now)
    ):
        return peer_pid
    pids = [int(each.name) for each in proc.iterdir() if each.name.isdigit()]
    serving = [pid for pid in pids if _serves(proc, pid, socket_path, now)]
    return serving[0] if len(serving) == 1 else None


def _serves(proc: Path, pid: int, socket_path: str, since: float) -> bool:
    """Whether the process is a QEMU that has `socket_path` open and listens on it, by a listing as young as `since`."""
    process = proc / str(pid)
    if not is_qemu(process):
        return False
    held = list(_sockets(process))
    listing = _listing(process, since) if held else b""
    return any(_is_same_file(process, bound, socket_path) for _, bound in _listening(listing, held))


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


_listings: dict[str, tuple[float, bytes]] = {}
"""When the listing of a network namespace was read last, and what it was."""


def _listing(process: Path, since: float) -> bytes:
    """All unix sockets in the process's own network namespace, read at `since` or later."""
    try:
        namespace = str((process / "ns/net").readlink())
    except OSError:
        return read_if_there(process / "net/unix") or b""
    read_at, text = _listings.get(namespace, (float("-inf"), b""))
    if read_at < since:
        for old in [each for each, (at, _) in _listings.items() if at < since]:
            del _listings[old]
        read_at, text = time.monotonic(), read_if_there(process / "net/unix") or b""
        _listings[namespace] = read_at, text
    return text


def _listening(text: bytes, held: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Inode and path of those of the sockets that listen.

    A host of a thousand guests has some thousands of unix sockets: only the lines in question are looked at closely.
    """
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
