"""The host's own view of a QEMU process: what it holds of the guest's memory, and what it takes beyond it."""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import KIB
from autoballoon.host.apart import Apart, apart
from autoballoon.host.files import KeptFile, fields, read_if_there
from autoballoon.host.huge import Splits, split_holed
from autoballoon.host.smaps import Split, split

_SOONEST_S, _LATEST_S = 2.0, 60.0
_COST = 200
"""Reading smaps again takes at most one part in this many of a processor's time, for all processes together: it walks
page tables, and a large guest has many (`make bench` prints what one reading takes)."""
_LATE_S, _MOST_LATE = 10.0, 6
"""A reading apart that takes longer than this (the kernel has it wait for a lock on the process's memory) keeps others
waiting no more; beside so many of these no other is begun, for each holds a thread."""
_FORGET_S = 600.0
_HELD = (b"RssAnon", b"RssShmem", b"VmPTE", b"VmSwap", b"HugetlbPages")


class ProcessMemory(msgspec.Struct, frozen=True):
    """One QEMU process, bytes."""

    resident: int
    """Guest memory in the host's RAM, at most the guest's RAM; what KSM merged counts by its share (Pss)."""
    huge: int
    """What of it lies on huge pages set aside (hugetlbfs), which control groups charge apart."""
    swapped: int
    """Guest memory in the host's swap."""
    overhead: int | None
    """Anonymous memory and page tables beyond guest memory, the most ever seen. Mapped files never count:
    the text of one QEMU is shared by all. None until smaps have been read."""


class _Known:
    """What is remembered of one process."""

    def __init__(self, pid: int, started: int, ram: int, born: float) -> None:
        self.pid = pid
        self.started = started
        self.ram = ram
        self.born = born
        self.must_look = True
        """Nothing is known of its split yet, or it no longer holds."""
        self.is_looked_at = False
        """Its smaps are being read."""
        self.look_again_at = 0.0
        self.seen_at = 0.0
        self.overhead = 0
        self.parts: Split | None = None
        self.own_shared = 0
        self.own_swap = 0


class ProcessReader:
    """Reads QEMU processes by pid; `root` is where /proc is found, `clock` counts seconds.

    Each reading is of status and stat. The split of it between guest and QEMU comes from smaps, which is read again
    when the process has become twice as old (a young QEMU still grows: devices, TCG's translation buffer), but after
    2 to 60 s, and all such readings together take at most a two-hundredth of a processor (`worked` counts the seconds
    that the calling thread had of one). In between, what anonymous memory the process gains or loses counts as the
    guest's: their sum is always right. Without leave to read smaps everything counts as the guest's, up to its RAM.

    With `apart` (host.apart) smaps is read beside the running event loop, one process after the other, and `read` waits
    for none of it: until a process's first smaps is there everything counts as the guest's.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
        apart: Apart | None = None,
        worked: Callable[[], float] = time.thread_time,
    ) -> None:
        self._proc = root / "proc"
        self._clock = clock
        self._apart = apart
        self._worked = worked
        self._known: dict[int, _Known] = {}
        self._files: dict[int, dict[str, KeptFile]] = {}
        self._smaps_again_at = 0.0
        self._wanted: dict[int, _Known] = {}
        """Whose smaps are to be read, by pid; who has waited longest is the first."""
        self._looker: asyncio.Task[None] | None = None
        self._looks: set[asyncio.Task[None]] = set()
        """Readings apart under way: the looker's, and those that are late."""

    def read(self, pid: int, ram: int) -> ProcessMemory | None:
        """The process now, for a guest of `ram` bytes of RAM; None when it is gone.

        A pid that has gone to another process starts anew, high-water mark and all. The swap of memfd and
        shared memory is as of the last smaps: VmSwap leaves it out.
        """
        status = _held(self._file(pid, "status"))
        started = _started(self._stat(pid))
        if started is None or b"RssAnon" not in status:  # a zombie has a status and no memory
            self._forget(pid)
            return None
        known = self._recall(pid, started, ram)
        if not known.is_looked_at and (known.must_look or known.seen_at >= known.look_again_at):
            self._wanted[pid] = known  # who waits already keeps its place
            self._look_at_wanted()
        return _measure(known, status)

    def cpu_s(self, pid: int) -> float | None:
        """Seconds of processor time that the process has had, in steps of the clock tick (10 ms); None when gone.

        Of all its threads: fields 14 and 15 of stat, utime and stime.
        """
        fields = self._stat(pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else None

    async def split_holed(self, pid: int) -> Splits | None:
        """Make the kernel free what huge pages with holes hold of the guest's RAM.

        None when that was refused, or nothing is known of the process. Works in a thread: see `host.huge`; CouldNot
        when there is none.
        """
        known = self._known.get(pid)
        if known is None or known.parts is None:
            return None
        before = self._huge_splits()
        cpu_s = await apart(split_holed, pid, known.parts.ranges)
        return None if cpu_s is None else Splits(self._huge_splits() - before, cpu_s)

    def _huge_splits(self) -> int:
        """Huge pages split since boot, the whole machine's."""
        return fields(read_if_there(self._proc / "vmstat") or b"").get(b"thp_split_page", 0)

    def age_s(self, pid: int) -> float | None:
        """Seconds since the process started; None when it is gone.

        May be called from any thread, as libvirt's guests are met in one: the kept files are the event loop's.
        """
        started = _started(_stat_fields(read_if_there(self._proc / str(pid) / "stat") or b""))
        uptime = read_if_there(self._proc / "uptime")
        if started is None or uptime is None:
            return None
        return max(float(uptime.split()[0]) - started / os.sysconf("SC_CLK_TCK"), 0.0)

    def identity(self, pid: int) -> str | None:
        """What tells this process from every other, of this boot and of others; None when it is gone."""
        fields = self._stat(pid)
        boot = read_if_there(self._proc / "sys/kernel/random/boot_id")
        if not fields or fields[0] in b"ZX" or boot is None:
            return None
        return f"{boot.decode().strip()}/{pid}/{int(fields[19])}"

    def _file(self, pid: int, name: str) -> bytes:
        """The text of /proc/PID/NAME; nothing when the process is gone.

        Kept open: a file of a process that has ended never becomes the next one's of that number.
        """
        files = self._files.setdefault(pid, {})
        try:
            if name not in files:
                files[name] = KeptFile(self._proc / str(pid) / name)
            return files[name].read()
        except CouldNot:
            self._close(pid)
            return b""

    def _forget(self, pid: int) -> None:
        self._known.pop(pid, None)
        self._wanted.pop(pid, None)
        self._close(pid)

    def _close(self, pid: int) -> None:
        for file in self._files.pop(pid, {}).values():
            file.close()

    def _stat(self, pid: int) -> list[bytes]:
        """The fields of its stat now; nothing when the process is gone."""
        return _stat_fields(self._file(pid, "stat"))

    def _recall(self, pid: int, started: int, ram: int) -> _Known:
        now = self._clock()
        known = self._known.get(pid)
        if known is None or known.started != started:
            for old in [p for p, k in self._known.items() if now - k.seen_at >= _FORGET_S]:
                self._forget(old)
            known = _Known(pid, started, ram, born=now - (self.age_s(pid) or 0.0))
            self._known[pid] = known
        elif known.ram != ram:  # memory was plugged: the old split no longer holds
            known.ram = ram
            known.must_look = True
        known.seen_at = now
        return known

    def _look_at_wanted(self) -> None:
        """Have smaps read for those whose turn it is."""
        if self._apart is None:
            while (known := self._next()) is not None:
                self._learn(known, known.ram, _look(self._proc / str(known.pid), known.ram, self._worked))
        elif self._looker is None or self._looker.done():
            self._looker = asyncio.create_task(self._look_one_by_one())

    def _next(self) -> _Known | None:
        """Takes out who has waited longest of those who must be looked at; or else of all, if that may be now."""
        known = min(self._wanted.values(), key=lambda known: not known.must_look, default=None)
        if known is None or not (known.must_look or self._clock() >= self._smaps_again_at):
            return None
        return self._wanted.pop(known.pid)

    async def _look_one_by_one(self) -> None:
        while len(self._looks) < _MOST_LATE and (known := self._next()) is not None:
            known.is_looked_at = True
            look = asyncio.create_task(self._look_apart(known, known.ram))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)
            await asyncio.wait((look,), timeout=_LATE_S)

    async def _look_apart(self, known: _Known, ram: int) -> None:
        assert self._apart is not None
        try:
            with suppress(CouldNot):  # there is no thread for it: it is wanted again when next read
                self._learn(
                    known, ram, await self._apart(_look, self._proc / str(known.pid), ram, self._worked)
                )
        finally:
            known.is_looked_at = False

    def _learn(self, known: _Known, ram: int, seen: "_Seen") -> None:
        """What smaps said of the process, when it was to be of a guest of `ram` bytes."""
        now = self._clock()
        self._smaps_again_at = max(self._smaps_again_at, now) + _COST * seen.cost_s
        if known.ram != ram:  # memory was plugged meanwhile
            return
        if seen.parts is not None:
            known.parts = seen.parts
            known.own_shared = seen.shared - seen.parts.shared
            known.own_swap = seen.swap - seen.parts.anonymous_swap
        elif known.parts is None:
            known.parts = Split(private_size=ram)
        if known.must_look:  # what seemed overhead until now was not told from the guest's
            known.must_look, known.overhead = False, 0
        known.look_again_at = now + min(max(now - known.born, _SOONEST_S), _LATEST_S)


class _Seen(msgspec.Struct, frozen=True):
    """One reading of smaps, and what status says beside it."""

    parts: Split | None
    """None where smaps may not be read, or have no guest RAM."""
    shared: int
    swap: int
    cost_s: float
    """Seconds of a processor."""


def _look(folder: Path, ram: int, worked: Callable[[], float]) -> _Seen:
    """Reads the smaps in /proc/PID; in any thread, as nothing is shared with it."""
    began = worked()
    smaps = read_if_there(folder / "smaps")
    parts = split(smaps, ram) if smaps else None
    # Of the moment that smaps was had, however long that took.
    status = _held(read_if_there(folder / "status") or b"")
    return _Seen(parts, _shared(status), status.get(b"VmSwap", 0), worked() - began)


def _stat_fields(text: bytes) -> list[bytes]:
    """The fields of a /proc/PID/stat from the third on; nothing when it has too few.

    The name in field 2 may hold blanks and brackets, so fields are counted after its last bracket.
    """
    fields = text.rpartition(b")")[2].split()
    return fields if len(fields) > 19 else []


def _started(stat: list[bytes]) -> int | None:
    """When the process started, in clock ticks since boot: field 22 of stat, which tells reused pids apart."""
    return int(stat[19]) if stat else None


def _held(status: bytes) -> dict[bytes, int]:
    """Bytes of the lines of /proc/PID/status that we want, where there are such.

    Each is looked for by itself: a regular expression over all lines takes four times as long, and there are guests by
    the thousand.
    """
    found = {}
    for name in _HELD:
        at = status.find(b"\n" + name + b":")
        if at >= 0:
            begin = at + len(name) + 2
            number = status[begin : status.find(b" kB", begin)]
            if number.strip().isdigit():
                found[name] = int(number) * KIB
    return found


def _shared(status: dict[bytes, int]) -> int:
    return status.get(b"RssShmem", 0) + status.get(b"HugetlbPages", 0)


def _measure(known: _Known, status: dict[bytes, int]) -> ProcessMemory:
    """Guest and QEMU told apart: their split at the last smaps, and the counters of now."""
    parts = known.parts or Split(private_size=known.ram)
    anonymous = min(max(status[b"RssAnon"] - parts.own, 0), parts.private_size)
    shared = max(_shared(status) - known.own_shared, 0)
    beyond = status[b"RssAnon"] - anonymous + status.get(b"VmPTE", 0)
    known.overhead = max(known.overhead, beyond)
    swapped = max(status.get(b"VmSwap", 0) - known.own_swap, 0) + parts.shared_swap
    resident = min(max(anonymous - parts.merged, 0) + shared, known.ram)
    return ProcessMemory(
        resident=resident,
        huge=min(status.get(b"HugetlbPages", 0), resident),
        swapped=min(swapped, known.ram),
        overhead=None if known.parts is None else known.overhead,
    )
