"""Called when a memory group of cgroup v1 is under pressure: low, medium or critical.

The mechanism of the first automatic ballooning (May 2013). Source: Documentation/admin-guide/cgroup-v1/memory.rst,
section 11, and mm/vmpressure.c. Levels are cumulative: who listens for low also hears medium (60 % and more of what was
scanned could not be reclaimed) and critical (95 %).
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.host.files import is_at

GAPS_S = {"low": 10.0, "medium": 1.0, "critical": 0.2}
"""A level that was told is not listened to for so long. Low only says that the kernel reclaims, cache most of the time,
which is what a full host does all day."""


class LevelTrigger:
    """Calls `on_level` with the highest level heard. The call comes from the event loop."""

    def __init__(self, group: Path, on_level: Callable[[str], None]) -> None:
        """`group` is the folder of the group, or the hierarchy's mount point for the whole machine."""
        self.group = group
        self._on_level = on_level
        self._events: dict[str, int] = {}
        self._muted: dict[str, asyncio.TimerHandle] = {}
        self._file = -1
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def watching(self) -> bool:
        """Whether it listens: false before start, after close, and once its group is gone."""
        return self._loop is not None

    @property
    def is_current(self) -> bool:
        """Whether it listens to the group that stands at its path now: it may have been removed and made again."""
        return self.watching and is_at(self._file, self.group / "memory.pressure_level")

    def start(self) -> None:
        """Listen in the running event loop. CouldNot when the kernel refuses it."""
        try:
            self._file = os.open(self.group / "memory.pressure_level", os.O_RDONLY | os.O_CLOEXEC)
            control = os.open(self.group / "cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
            try:
                for level in GAPS_S:
                    event = self._events[level] = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                    os.write(control, f"{event} {self._file} {level}".encode())
            finally:
                os.close(control)
        except OSError as error:
            self.close()
            raise CouldNot(
                f"{self.group} does not tell of memory pressure ({error.strerror}); "
                "run as root with the control groups writable"
            ) from error
        self._loop = asyncio.get_running_loop()
        for event in self._events.values():
            self._loop.add_reader(event, self._happened)

    def close(self) -> None:
        """Listen no more; closing twice does nothing."""
        for timer in self._muted.values():
            timer.cancel()
        self._muted.clear()
        for event in self._events.values():
            if self._loop is not None:
                self._loop.remove_reader(event)
            os.close(event)  # the kernel takes its end back with it
        self._events.clear()
        self._loop = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _happened(self) -> None:
        heard = [level for level in GAPS_S if level not in self._muted and self._drain(level)]
        if not self.group.exists():
            self.close()  # the kernel signals everybody when a group is removed
            return
        for level in heard:
            self._mute(level)
        if heard:
            self._on_level(heard[-1])

    def _drain(self, level: str) -> bool:
        with contextlib.suppress(BlockingIOError):
            return os.eventfd_read(self._events[level]) > 0
        return False

    def _mute(self, level: str) -> None:
        assert self._loop is not None
        self._loop.remove_reader(self._events[level])
        self._muted[level] = self._loop.call_later(GAPS_S[level], self._listen_again, level)

    def _listen_again(self, level: str) -> None:
        assert self._loop is not None
        del self._muted[level]
        self._drain(level)  # what came meanwhile has had its tick
        self._loop.add_reader(self._events[level], self._happened)
