"""Called when the kernel says that tasks wait for memory: a PSI trigger."""

import asyncio
import os
import select
from collections.abc import Callable
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.host.files import is_at


class PressureTrigger:
    """Calls `on_pressure` when tasks have waited `stall_s` for memory within `window_s`, at most once a window.

    `path` is /proc/pressure/memory or a control group's memory.pressure. The kernel wants windows of 0.5 to
    10 s, and looks ten times in each. From a process without CAP_SYS_RESOURCE it wants whole multiples of 2 s,
    and looks every 2 s (Documentation/accounting/psi.rst, kernel/sched/psi.c).
    One trigger belongs to one open file and lasts as long as it. The call comes from the event loop.
    """

    def __init__(self, path: Path, stall_s: float, window_s: float, on_pressure: Callable[[], None]) -> None:
        self._path = path
        self._terms = f"some {round(stall_s * 1e6)} {round(window_s * 1e6)}"
        self._on_pressure = on_pressure
        self._fd = -1
        self._epoll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def watching(self) -> bool:
        """Whether it is set: false before start, after close, and once its control group is gone."""
        return self._epoll is not None

    @property
    def is_current(self) -> bool:
        """Whether it looks at what stands at its path now: a group may have been removed and made again unheard."""
        return self.watching and is_at(self._fd, self._path)

    def start(self) -> None:
        """Set the trigger and watch it in the running event loop. CouldNot when the kernel refuses it."""
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(self._fd, self._terms.encode() + b"\0")  # the kernel overwrites the last byte
            self._epoll = select.epoll()
            self._epoll.register(self._fd, select.EPOLLPRI)
        except OSError as error:
            self.close()
            raise CouldNot(
                f"{self._path} takes no pressure trigger ({self._terms!r}: {error.strerror});"
                " run as root with CAP_SYS_RESOURCE on Linux 5.2 or newer with PSI on"
            ) from error
        # asyncio watches for reading only; an epoll is readable when something it watches has happened
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._happened)

    def close(self) -> None:
        """Take the trigger back; closing twice does nothing."""
        if self._epoll is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = self._loop = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _happened(self) -> None:
        """The kernel clears the event as soon as anyone asks for it, and asyncio's own epoll already has: being
        called is the event. What can still be seen here is the error that lasts, when the group is gone."""
        assert self._epoll is not None
        if any(events & select.EPOLLERR for _, events in self._epoll.poll(0)):
            self.close()
        self._on_pressure()
