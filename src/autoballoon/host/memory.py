"""What the host, or the control group that limits the guests, has of memory: one reader for all three kinds."""

from pathlib import Path

from autoballoon.core.errors import BadInput
from autoballoon.core.model import Host
from autoballoon.host.cgroup import Group, counts_huge, pressure_file, v1_root
from autoballoon.host.files import read_if_there
from autoballoon.host.machine import Machine, pressure_seconds

_GROUP = "cgroup:"


class HostReader:
    """Reads the host whose capacity is `"auto"` (the machine), a number of bytes, or `"cgroup:/sys/fs/cgroup/..."`.

    `root` is where /proc and /sys are found. BadInput when the capacity is none of these, or when the group
    is no memory group or has no limit; CouldNot when it is not there, or the machine's own files cannot be read. Files
    are kept open: close it when done.
    """

    def __init__(self, capacity: str | int, root: Path = Path("/")) -> None:
        self._root = root
        self._machine = Machine(root)
        self._fixed: int | None = None
        self._group: Group | None = None
        self._group_has_huge = False
        self._group_binds = False
        """When last read, the group had less left than the machine."""
        self._pressure: Path | None = None
        if isinstance(capacity, str) and capacity.startswith(_GROUP):
            self._group = self._limited_group(capacity.removeprefix(_GROUP))
            self._group_has_huge = counts_huge(self._group, root)
        elif isinstance(capacity, int):
            if capacity <= 0:
                raise BadInput(f"the host's capacity is {capacity} bytes; give a size above zero")
            self._fixed = capacity
        elif capacity != "auto":
            raise BadInput(
                f'the host\'s capacity {capacity[:80]!r} is not known; write "auto", a size, or'
                ' "cgroup:/sys/fs/cgroup/..."'
            )
        self.read()

    def read(self) -> Host:
        """The host now: capacity, what of it is available, swap traffic and pressure.

        Capacity is never more than MemTotal, available never more than the capacity nor than the machine has.
        CouldNot when a file can no longer be read, as while the group is gone. A group that has lost its limit
        counts as the whole machine.
        """
        total, available = self._machine.read()
        capacity = total
        has_huge = True
        if self._group is not None:
            found = self._group.read(total)
            self._group_binds = False
            if found is not None:
                capacity, room = found
                has_huge = self._group_has_huge
                self._group_binds = room <= available
                available = min(available, room)
        elif self._fixed is not None:
            capacity = min(self._fixed, total)
            available = self._within_fixed(available)
        swap_in, swap_out = self._machine.swapped()
        some_s, full_s = pressure_seconds(self._pressure)
        if some_s is None:  # looking for the file costs four times as much as reading it
            self._pressure = self.pressure_path()
            some_s, full_s = pressure_seconds(self._pressure)
        return Host(
            capacity=capacity,
            available=available,
            swap_in=swap_in,
            swap_out=swap_out,
            psi_some_s=some_s,
            psi_full_s=full_s,
            counts_huge=has_huge,
        )

    def free_now(self) -> int:
        """The available bytes by one read of one file, cheap enough for ten times a second.

        It is that of whatever was tightest when last fully read: the machine, or one level of the group, whose
        usage is taken less the file cache of then. So it may differ from `read` by what the cache has grown
        since, never by what guests have taken. CouldNot as for `read`.
        """
        if self._group is not None and self._group_binds:
            return self._group.room_now()
        return self._within_fixed(self._machine.available_now())

    def pressure_path(self) -> Path | None:
        """The PSI file that tells of this host's stalls, to read and to put a trigger on; None when PSI is off."""
        if self._group is not None:
            own = pressure_file(self._group, self._root)
            if own is not None:
                return own
        machines = self._root / "proc/pressure/memory"
        return machines if read_if_there(machines) else None

    def limited_groups(self) -> tuple[list[Path], int]:
        """The groups whose limits make this host's capacity, and their version of cgroups.

        Without such: in v1 the hierarchy's mount point, which tells of the whole machine's pressure; in v2 none.
        """
        if self._group is not None:
            return self._group.limited(self._machine.total), self._group.version
        whole = v1_root(self._root)
        return ([whole], 1) if whole is not None else ([], 2)

    def close(self) -> None:
        """Let every kept file go."""
        self._machine.close()
        if self._group is not None:
            self._group.close()

    def _within_fixed(self, available: int) -> int:
        """What is left of a fixed capacity, with everything the machine uses counted against it."""
        if self._fixed is None:
            return available
        return max(min(available, self._fixed - (self._machine.total - available)), 0)

    def _limited_group(self, path: str) -> Group:
        if not path.startswith("/"):
            raise BadInput(
                f"the control group {path[:80]!r} is not a full path; write cgroup:/sys/fs/cgroup/..."
            )
        group = Group(self._root / path.strip("/"), path)
        if group.read(self._machine.total) is None:
            limit = "memory.max" if group.version == 2 else "memory.limit_in_bytes"
            raise BadInput(
                f"nothing limits the control group {path} to less than the machine has;"
                f' write a size into its {limit}, or use capacity = "auto"'
            )
        return group
