"""The control group (version 2) that holds one guest's QEMU and nothing else, and its memory.high.

Source: Documentation/admin-guide/cgroup-v2.rst. Above memory.high the kernel reclaims from the group, slows it down,
and kills nobody.
"""

import os
from pathlib import Path

from autoballoon.core.errors import BadInput
from autoballoon.core.facts import Lack, Uncontained
from autoballoon.host.files import KeptFile, fields, read_if_there

_RECLAIMABLE = (b"active_file", b"inactive_file", b"slab_reclaimable")
_OF_LIBVIRT = ("emulator", "vcpu", "iothread")
"""Beginnings of the groups that libvirt makes for the threads of one domain, below `libvirt`."""


class Unfit(Exception):
    """Why a guest's group is not to be touched, and a mend, in words that go on from the guest's name."""

    def __init__(self, facts: Uncontained, mend: str = "") -> None:
        self.facts = facts
        super().__init__("; ".join(filter(None, (facts.why, mend))))


class GuestGroup:
    """The group at `path`, whose files are kept open; OSError or CouldNot from any of its methods: it is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inode = path.stat().st_ino
        """A group that was removed and made again is another one, with no limit."""
        self._current = KeptFile(path / "memory.current")
        self._high = KeptFile(path / "memory.high")

    def current(self) -> int:
        """Bytes charged to it, file cache included."""
        return int(self._current.read())

    def held(self) -> int:
        """Bytes of it that only swapping would give back."""
        stat = fields(read_if_there(self.path / "memory.stat") or b"")
        return max(self.current() - sum(stat.get(name, 0) for name in _RECLAIMABLE), 0)

    def high(self) -> int | None:
        """Its memory.high, bytes; None is "max"."""
        text = self._high.read().strip()
        return int(text) if text.isdigit() else None

    def set_high(self, size: int | None) -> int | None:
        """Set memory.high and return what it is then: the kernel takes whole pages.

        Below what the group holds the kernel reclaims from it before this returns.
        """
        (self.path / "memory.high").write_text("max" if size is None else str(size))
        return self.high()

    def check(self, pid: int) -> None:
        """Unfit when the group, with all below it, holds any other process than this one."""
        others = _processes(self.path) - {pid}
        if others:
            why = f"its control group {self.path} holds other processes too (pid {min(others)})"
            raise Unfit(Uncontained(Lack.SHARED, why, str(self.path)), "start QEMU in a group of its own")

    def close(self) -> None:
        """Let the kept files go."""
        self._current.close()
        self._high.close()


class GuestGroups:
    """Finds guests' groups; `root` is where /proc and /sys are found."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def require(self) -> None:
        """BadInput where the memory controller is not that of control groups version 2."""
        if self._tree() is None:
            raise BadInput(
                "[host] contain = true needs memory.high, which only control groups of version 2 have, and this machine"
                " counts memory by version 1 or not at all; remove it, or boot with cgroup_no_v1=memory"
            )

    def of_capacity(self, capacity: str | int) -> Path | None:
        """The group that is the host's own, as `[host] capacity` names it."""
        text = str(capacity)
        return self._root / text.removeprefix("cgroup:").strip("/") if text.startswith("cgroup:/") else None

    def find(self, pid: int, spared: Path | None = None) -> GuestGroup:
        """The group where the memory of this QEMU process is counted, when it holds nobody else.

        The lowest one above the process that has a memory.high. libvirt puts the threads of a domain into groups below
        the domain's own (`libvirt/emulator`), where no memory is counted; any other group above that of the process is
        somebody else's to share out. Neither `spared` (the host's own, as capacity) nor what is above it is ever it.
        Unfit when there is no such group.
        """
        tree = self._tree()
        line = next(
            (line for line in (self._read(f"proc/{pid}/cgroup") or "").splitlines() if line[:3] == "0::"), ""
        )
        name = Path(line[3:])
        if tree is None or ".." in name.parts or not name.is_absolute():
            raise Unfit(Uncontained(Lack.UNSEEN, "its control group is out of sight"))
        try:
            line.encode()
        except UnicodeEncodeError:
            why = "the name of its control group is not UTF-8"
            raise Unfit(Uncontained(Lack.UNSEEN, why), "give the group another") from None
        own = path = tree / str(name).lstrip("/")
        while path != tree and not (path / "memory.high").exists() and _is_a_part(path):
            path = path.parent
        if path == tree or not (path / "memory.high").exists():
            why = f"memory is not counted for its control group {name} alone"
            raise Unfit(Uncontained(Lack.UNCOUNTED, why, str(own)), "hand the memory controller down to it")
        if spared is not None and (path == spared or path in spared.parents):
            why = f"its control group {path} is the host's (capacity)"
            raise Unfit(Uncontained(Lack.HOSTS, why, str(path)), "start it in a group below")
        try:
            group = GuestGroup(path)
        except OSError as error:
            why = f"its control group {path} cannot be read ({error.strerror})"
            raise Unfit(Uncontained(Lack.UNSEEN, why, str(path))) from None
        group.check(pid)
        return group

    def at(self, shown: str) -> GuestGroup | None:
        """The group whose folder was written down; None when it is gone.

        Unfit where no group can have been: not below where they are mounted, or by way of a link.
        """
        path, tree = self._root / shown.lstrip("/"), self._tree()
        if not path.is_dir():
            return None
        if (
            tree is None
            or tree not in path.parents
            or path.resolve() != tree.resolve() / path.relative_to(tree)
        ):
            raise Unfit(Uncontained(Lack.UNSEEN, f"{shown} is no control group"))
        return GuestGroup(path)

    def boot(self) -> str:
        """What tells this boot of the machine from every other."""
        return (self._read("proc/sys/kernel/random/boot_id") or "").strip()

    def _tree(self) -> Path | None:
        """Where version 2 is mounted, when the memory controller is its."""
        for line in (self._read("proc/self/mounts") or "").splitlines():
            words = line.split()
            if len(words) > 2 and words[2] == "cgroup2":
                tree = self._root / words[1].lstrip("/")
                controllers = read_if_there(tree / "cgroup.controllers") or b""
                return tree if b"memory" in controllers.split() else None
        return None

    def _read(self, name: str) -> str | None:
        text = read_if_there(self._root / name)
        return None if text is None else text.decode(errors="surrogateescape")


def _is_a_part(path: Path) -> bool:
    """Whether this group is only a part of one guest's own."""
    if path.name == "libvirt":
        return True
    if path.parent.name == "libvirt" and path.name.startswith(_OF_LIBVIRT):
        return True
    return (read_if_there(path / "cgroup.type") or b"").strip() == b"threaded"


def _processes(path: Path) -> set[int]:
    """The processes in this group and below; in a threaded group the file of the topmost names them all."""
    found = {int(word) for word in (read_if_there(path / "cgroup.procs") or b"").split()}
    if (read_if_there(path / "cgroup.type") or b"").strip() == b"domain threaded":
        return found
    with os.scandir(path) as entries:
        below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return found.union(*(_processes(Path(one)) for one in below))
