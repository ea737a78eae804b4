"""The lab's own memory control group: every guest lives in it, and its limit is the host's size."""

import asyncio
import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import PAGE, size_text
from autoballoon.lab.processes import Identity, identify

_TREE = Path("/sys/fs/cgroup")
_GONE_S = 10.0
"""How long killed processes may take to leave the group; a QEMU that is swapped out needs a moment."""
_WAKE_EVERY_S = 0.05
"""How long a guest may wait for memory in vain that could be had by swapping."""
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}
"""What a process that lives in the group needs in its environment.

A group of version 1 that kills nobody has only those wait that touch memory themselves. Where the kernel touches it
for a thread it finds none and gives up. With glibc 2.35 or newer it writes to a thread's rseq area whenever the thread
runs again, and where it cannot, it ends the process with SIGSEGV, without a word: a QEMU whose thread slept until that
page was swapped out, in a group that is full just then. Without an area there is nothing to write.
"""


class Group:
    """One memory group, on cgroup v1 (with a cgroup2 group of the same name for its memory.pressure) or v2.

    `tree` is where the control groups are mounted; tests give a captured one.
    """

    def __init__(self, name: str, tree: Path = _TREE) -> None:
        v1 = tree / "memory"
        self.version = 1 if v1.is_dir() else 2
        self.path = (v1 if self.version == 1 else tree) / name
        """The group's folder; "cgroup:PATH" is what the daemon's `capacity` takes."""
        unified = tree / "unified" / name
        self._folders = [self.path, *([unified] if self.version == 1 and unified.parent.is_dir() else [])]
        self._limit = self.path / ("memory.limit_in_bytes" if self.version == 1 else "memory.max")
        self._size: int | None = None
        """The limit ..."""
        self._beyond = 0
        """... and bytes that have been added to it to wake who waits."""
        self._oom = self.path / "memory.oom_control"
        """Where groups can be told to kill nobody (version 1)."""
        self._usage = self.path / ("memory.usage_in_bytes" if self.version == 1 else "memory.current")

    @property
    def pressure(self) -> Path | None:
        """The memory.pressure file, or None where the kernel has none."""
        file = self._folders[-1] / "memory.pressure"
        return file if file.exists() else None

    @property
    def procs(self) -> tuple[Path, ...]:
        """The files a process writes its pid to, to enter."""
        return tuple(folder / "cgroup.procs" for folder in self._folders)

    def make(self) -> None:
        """Make it, without a limit. CouldNot where groups are absent, read-only or lack the memory controller."""
        folder, made = self.path, list[Path]()
        try:
            if self.version == 2:
                self._enable_memory()
            for folder in self._folders:
                folder.mkdir()
                made.append(folder)
            folder = self.path
            self._usage.read_text()
            self._spare_all()
        except OSError as error:
            for own in made:  # one that was there may be another lab's
                with contextlib.suppress(OSError):
                    own.rmdir()
            needs = "the memory controller in a" if folder == self.path else "a"
            raise CouldNot(
                f"the lab cannot make its memory group {folder} ({error.strerror}); it needs "
                f"{needs} writable {folder.parent} (in a container: --privileged --cgroupns=host)"
            ) from error

    def limit(self, size: int | None) -> None:
        """Limit it to `size` bytes; None lifts the limit. CouldNot when it already holds more and cannot swap."""
        none = "-1" if self.version == 1 else "max"
        try:
            with contextlib.nullcontext() if self.version == 1 or size is None else self._squeezed(size):
                self._limit.write_text(none if size is None else str(size))
        except OSError as error:
            raise CouldNot(
                f"{self._limit} does not take {size_text(size)} ({error.strerror}); "
                f"the group holds {size_text(self.usage())} and cannot swap enough of it"
            ) from error
        self._size, self._beyond = size, 0

    @contextlib.contextmanager
    def _squeezed(self, size: int) -> Iterator[None]:
        """Within, it holds no more than `size`; OSError when that cannot be.

        Version 1 refuses a limit that it cannot reach, version 2 takes it and kills what is inside (memory.max in
        cgroup-v2.rst); memory.high reclaims as much and kills nothing.
        """
        high = self.path / "memory.high"
        before = high.read_text() if high.exists() else "max"
        high.write_text(str(size))
        try:
            if self.usage() > size:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            yield
        finally:
            high.write_text(before)

    def usage(self) -> int:
        """Bytes charged to it now."""
        return int(self._usage.read_text())

    def pids(self) -> list[int]:
        """The processes inside."""
        found: set[int] = set()
        for procs in self.procs:
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in procs.read_text().split())
        return sorted(found)

    def exists(self) -> bool:
        """Whether there is anything to remove."""
        return any(folder.is_dir() for folder in self._folders)

    def remove(self, since: Identity | None = None) -> None:
        """Kill what is inside, wait, and remove the group; nothing to do when there is none.

        A process older than `since` is not the lab's, whoever put it there: it is spared. CouldNot when one stays.
        """
        deadline = time.monotonic() + _GONE_S
        while not self._try_remove(since):
            if time.monotonic() > deadline:
                raise CouldNot(
                    f"{self.path} still holds the processes {self.pids()}; end them and run: rmdir {self.path}"
                )
            time.sleep(0.02)

    def _try_remove(self, since: Identity | None) -> bool:
        """Whether nothing is left. A killed process stays in the group until its last thread has ended."""
        for pid in self.pids():
            # Version 2 shows processes of another pid namespace as 0, which to kill() means our own.
            if pid and not _is_older(pid, since):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for folder in self._folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return not self.exists()

    def _spare_all(self) -> None:
        """Have processes wait for memory instead of being killed for it, where groups offer that (version 1).

        The lab's swap file holds all guests, so a host of that size would swap and kill nobody. A group of version 1
        gives up on reclaim sooner, while its pages are still on their way to the swap: without this *off* lost one or
        two QEMUs of eight in half of its runs, with swap free (seen on Linux 6.18), and its time meant nothing.
        """
        if self._oom.exists():
            self._oom.write_text("1")

    def wake(self) -> bool:
        """Have those try again that found no memory; whether there were any. The kernel wakes them only when something
        in the group is freed, and nothing is when all of them wait (seen for 100 s, with most of the swap free).

        A larger limit wakes them too, be it by a page; it is led back as soon as what is held fits.
        """
        if self.version == 2 or self._size is None:
            return False
        waits = False
        # Guests that take what is free at this moment keep a limit from being led back (EBUSY): the next look does it.
        with contextlib.suppress(OSError):
            waits = "under_oom 1" in self._oom.read_text()
            if waits or (self._beyond and self.usage() < self._size):
                beyond = self._beyond + PAGE if waits else 0
                self._limit.write_text(str(self._size + beyond))
                self._beyond = beyond
        return waits

    def _enable_memory(self) -> None:
        """Have the root hand the controller down; only a root may hold processes beside groups (cgroup-v2.rst)."""
        control = self.path.parent / "cgroup.subtree_control"
        if "memory" not in control.read_text().split():
            control.write_text("+memory")


class Waker:
    """Looks at a group 20 times a second, wakes who found no memory in it, and counts how often that was."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self._stalls, self._stalled_s = 0, 0.0

    async def run(self) -> None:
        """Until it is cancelled."""
        clock = asyncio.get_running_loop().time
        looked = clock()
        while True:
            await asyncio.sleep(_WAKE_EVERY_S)
            before, looked = looked, clock()
            if self._group.wake():
                self._stalls += 1
                self._stalled_s += looked - before

    def extra(self) -> dict[str, float | None]:
        """For Run.extra: looks that found somebody waiting, and the seconds from each of them back to the one before.

        None of a group of version 2, in which nobody waits.
        """
        tells = self._group.version == 1
        return {
            "stalls": self._stalls if tells else None,
            "stalled_s": round(self._stalled_s, 3) if tells else None,
        }


def _is_older(pid: int, since: Identity | None) -> bool:
    """A process that is about to end (its first thread is gone, others still hold memory) is waited for."""
    found = identify(pid)
    return (
        found is not None
        and since is not None
        and (found.boot != since.boot or found.started < since.started)
    )
