"""Called when a cgroup v2 group ran into its memory limits: its file of memory events has changed.

Source: Documentation/admin-guide/cgroup-v2.rst, "memory.events" and "memory.events.local". A change is a POLLPRI of the
file that lasts until it is read again (fs/kernfs/file.c).
"""

import asyncio
import os
import select
from collections.abc import Callable
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.host.files import fields, is_at

TELLING = (b"high", b"max", b"oom", b"oom_kill")
"""Counters that rise when the group's memory is short. `low` is about its protection by memory.low."""
GAP_S = 1.0
"""While a group stays at its limit its counters rise all the time; regular ticks see to that."""


def events_file(group: Path) -> Path | None:
    """The file that tells of the limits of the group itself, if it has one.

    `high`, `max` and `oom` count in the group whose limit was hit, whoever below it was charged (memcg_memory_event in
    include/linux/memcontrol.h). memory.events has those of all groups below too: each guest at a limit of its own would
    be heard here. Kernels without memory.events.local have nothing better.
    """
    files = (group / name for name in ("memory.events.local", "memory.events"))
    return next((file for file in files if file.exists()), None)


class EventsTrigger:
    """Calls `on_event` with the names of the counters that have risen. The call comes from the event loop."""

    def __init__(
        self,
        path: Path,
        on_event: Callable[[str], None],
        telling: tuple[bytes, ...] = TELLING,
    ) -> None:
        self.path = path
        self._on_event = on_event
        self._telling = telling
        self._fd = -1
        self._epoll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._counts: dict[bytes, int] = {}

    @property
    def watching(self) -> bool:
        """Whether it looks: false before start, after close, and once it has found its group gone.

        The kernel tells nobody that a group is gone: that is found when its counters rose a moment before.
        """
        return self._epoll is not None

    @property
    def is_current(self) -> bool:
        """Whether it looks at what stands at its path now: a group may have been removed and made again unheard."""
        return self.watching and is_at(self._fd, self.path)

    def start(self) -> None:
        """Watch the file in the running event loop. CouldNot when it cannot be watched."""
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            self._counts = self._read()
            self._epoll = select.epoll()
            self._epoll.register(self._fd, select.EPOLLPRI)
        except OSError as error:
            self.close()
            raise CouldNot(f"{self.path} cannot be watched ({error.strerror}); run as root") from error
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._happened)

    def close(self) -> None:
        """Watch no more; closing twice does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._epoll is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = self._loop = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> dict[bytes, int]:
        return fields(os.pread(self._fd, 4096, 0))

    def _happened(self) -> None:
        assert self._loop is not None
        assert self._epoll is not None
        before = self._counts
        try:
            self._counts = self._read()
        except OSError:
            self.close()  # its group is gone
            return
        self._loop.remove_reader(self._epoll.fileno())
        self._timer = self._loop.call_later(GAP_S, self._look_again)
        risen = [name for name in self._telling if self._counts.get(name, 0) > before.get(name, 0)]
        if risen:
            self._on_event(", ".join(name.decode() for name in risen))

    def _look_again(self) -> None:
        assert self._loop is not None
        assert self._epoll is not None
        self._timer = None
        self._loop.add_reader(self._epoll.fileno(), self._happened)
