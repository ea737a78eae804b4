"""A memory control group and the ancestors that limit it, cgroup v1 or v2."""

from pathlib import Path

import msgspec

from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.host import swapcache
from autoballoon.host.files import KeptFile, fields, read_if_there


class _Files(msgspec.Struct, frozen=True):
    """What the files are called in one version of cgroups."""

    usage: str
    limits: tuple[str, ...]
    reclaimable: tuple[bytes, ...]
    """Lines of memory.stat, of the whole subtree, that the kernel gives back before it swaps."""
    swap_cache: swapcache.Lines


# v1 counts kernel memory in the usage but does not say which part of it is reclaimable slab.
_V1 = _Files(
    "memory.usage_in_bytes",
    ("memory.limit_in_bytes",),
    (b"total_active_file", b"total_inactive_file"),
    swapcache.V1,
)
_V2 = _Files(
    "memory.current",
    ("memory.high", "memory.max"),
    (b"active_file", b"inactive_file", b"slab_reclaimable"),
    swapcache.V2,
)


class _Level:
    """One group on the way up, with its usage file kept open."""

    def __init__(self, path: Path, names: _Files) -> None:
        self.path = path
        self._names = names
        self._usage = KeptFile(path / names.usage)
        self._reclaimable = 0

    def limit(self, machine_total: int) -> int | None:
        """The group's own limit, bytes; None when it has none that is below the machine's memory."""
        texts = (read_if_there(self.path / name) for name in self._names.limits)
        found = [int(text) for text in texts if text and text.strip().isdigit()]
        return min((limit for limit in found if limit < machine_total), default=None)

    def used(self) -> int:
        """Bytes the group holds that only swapping or killing would give back."""
        stat = fields(read_if_there(self.path / "memory.stat") or b"")
        self._reclaimable = sum(stat.get(name, 0) for name in self._names.reclaimable)
        self._reclaimable += swapcache.unmapped(stat, self._names.swap_cache)
        return self.used_now()

    def used_now(self) -> int:
        """The same by one read of one file, less the caches of the last full reading."""
        return max(int(self._usage.read()) - self._reclaimable, 0)

    def close(self) -> None:
        self._usage.close()


class Group:
    """The memory group at `path`: the smallest limit of it and its ancestors, and the room left below them.

    An ancestor's limit is shared with everything else in it, so room is measured at every level that has a
    limit. BadInput when `path` is no memory group; CouldNot when nothing is there: at boot a daemon may come before it.
    Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
    """

    def __init__(self, path: Path, shown: str) -> None:
        names = next((names for names in (_V2, _V1) if (path / names.usage).exists()), None)
        if names is None and not path.exists():
            raise CouldNot(
                f"there is no control group {shown}; make it (systemd makes a slice when something starts in it),"
                " or mend [host] capacity"
            )
        if names is None:
            raise BadInput(
                f"{shown} is no memory control group: neither {_V2.usage} nor {_V1.usage} is there;"
                f' give the directory of one, or capacity = "auto"'
            )
        self.path = path
        self.version = 2 if names is _V2 else 1
        self._names = names
        self._shown = shown
        self._levels = self._open()
        self._tightest = (0, self._levels[0])

    @property
    def top(self) -> Path:
        """The topmost memory group above it; in v1 the hierarchy's mount point."""
        return self._levels[-1].path

    def read(self, machine_total: int) -> tuple[int, int] | None:
        """The group's limit and the room left in it, bytes; None when nothing limits it.

        A group that was removed and made again under its name, as systemd does with slices, is found again;
        CouldNot while it is gone.
        """
        try:
            return self._measure(machine_total)
        except CouldNot:
            self.close()
            self._levels = self._open()
            return self._measure(machine_total)

    def limited(self, machine_total: int) -> list[Path]:
        """The levels that have a limit of their own: only there the kernel says when it is reached."""
        return [level.path for level in self._levels if level.limit(machine_total) is not None]

    def room_now(self) -> int:
        """The room left at the level that was the tightest when last read, by one read of one file."""
        limit, level = self._tightest
        return max(limit - level.used_now(), 0)

    def close(self) -> None:
        """Let the kept files go."""
        for level in self._levels:
            level.close()

    def _open(self) -> list[_Level]:
        """The group and its ancestors, as far up as memory is counted."""
        levels = []
        path = self.path
        while (path / self._names.usage).exists():
            levels.append(_Level(path, self._names))
            path = path.parent
        if not levels:
            raise CouldNot(f"the control group {self._shown} is gone; make it again")
        return levels

    def _measure(self, machine_total: int) -> tuple[int, int] | None:
        if not self.path.exists():
            raise CouldNot(f"the control group {self._shown} is gone; make it again")
        limits = [(level.limit(machine_total), level) for level in self._levels]
        rooms = [(max(limit - level.used(), 0), limit, level) for limit, level in limits if limit is not None]
        if not rooms:
            return None
        room, limit, level = min(rooms, key=lambda each: each[0])
        self._tightest = (limit, level)
        return min(limit for _, limit, _ in rooms), room


def v1_root(root: Path) -> Path | None:
    """Where the memory controller of cgroup v1 is mounted; None where it is not."""
    for line in (
        (read_if_there(root / "proc/self/mounts") or b"").decode(errors="surrogateescape").splitlines()
    ):
        words = line.split()
        if len(words) > 3 and words[2] == "cgroup" and "memory" in words[3].split(","):
            return root / words[1].lstrip("/")
    return None


def counts_huge(group: Group, root: Path) -> bool:
    """Whether the group's usage has huge pages set aside (hugetlbfs) in it.

    They have a controller of their own; since Linux 6.7 version 2 can be mounted to count them as memory too.
    """
    if group.version == 1:
        return False
    mounts = (line.split() for line in (read_if_there(root / "proc/self/mounts") or b"").splitlines())
    return any(
        b"memory_hugetlb_accounting" in words[3].split(b",")
        for words in mounts
        if len(words) > 3 and words[2] == b"cgroup2"
    )


def pressure_file(group: Group, root: Path) -> Path | None:
    """The group's own PSI file; in cgroup v1, that of the group of the same name in the cgroup2 tree.

    None where there is none. PSI is kept for each cgroup2 group even when the memory controller is v1's.
    """
    if group.version == 2:
        candidates = [group.path]
    else:
        name = group.path.relative_to(group.top)
        mounts = (line.split() for line in (read_if_there(root / "proc/self/mounts") or b"").splitlines())
        points = [words[1].decode() for words in mounts if len(words) > 2 and words[2] == b"cgroup2"]
        candidates = [root / point.lstrip("/") / name for point in points]
    return next((path for each in candidates if read_if_there(path := each / "memory.pressure")), None)
