"""Guests behind QMP sockets named by globs: a socket that appears is tried, one that vanishes is dropped."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from autoballoon.core.calm import CALM_EVERY_S
from autoballoon.core.model import Guest
from autoballoon.guests.hypervisor import Hypervisor, Problem, Wake, sleep_on
from autoballoon.guests.qmp_meet import Terms
from autoballoon.guests.qmp_session import Session
from autoballoon.guests.sockets import Rescan, sockets

_GOLDEN = 0.6180339887
"""Multiples of it modulo 1 lie evenly, however many there are."""
_LEAVE_S = 1.0
"""For guests that are let go to take back what was switched on."""


class QmpHypervisor(Hypervisor):
    """The guests whose QMP sockets match `globs`.

    `verify(socket, pid)` gives the pid of the QEMU behind a socket whose listener is `pid`, or None: one process is one
    guest, at the socket through which it was seen first, and its other monitors are let go. `age_s(pid)` gives the
    seconds since a process began; `refuse(socket)` says in a sentence why a socket must not be touched, or None.
    `ask` waits `ask_s` for the guests to answer. A guest is looked at each `interval_s`, a relaxed one each
    `calm_every_s`, and the looks of all are spread over that time. Every session has a task of its own; `read` only
    looks at what they have found.
    """

    def __init__(
        self,
        globs: Sequence[str],
        *,
        verify: Callable[[str, int | None], int | None],
        age_s: Callable[[int], float | None] = lambda pid: None,
        refuse: Callable[[str], str | None] = lambda path: None,
        command_timeout_s: float = 2.0,
        rescan_s: float = 1.0,
        interval_s: float = 1.0,
        calm_every_s: float = CALM_EVERY_S,
        queue_s: float = 600.0,
        backoff_s: tuple[float, float] = (0.2, 5.0),
        ask_s: float = 0.05,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._globs = tuple(globs)
        self._terms = Terms(
            verify, age_s, command_timeout_s, interval_s, calm_every_s, queue_s, backoff_s, clock
        )
        self._refuse = refuse
        self._ask_s = ask_s
        self._sessions: dict[str, Session] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asks: set[asyncio.Task[bool]] = set()
        self._refused: dict[str, str] = {}
        self._rescan = Rescan(self._scan, rescan_s)
        self._wake: Wake = sleep_on
        self._count = 0

    async def start(self, wake: Wake, *, wait: bool = True) -> None:
        self._wake = wake
        await self._scan()
        first = [asyncio.create_task(session.tried.wait()) for session in self._sessions.values() if wait]
        if first:
            _, late = await asyncio.wait(first, timeout=2 * self._terms.timeout_s)
            for task in late:
                task.cancel()
        self._rescan.start()

    async def look_at(self, globs: Sequence[str]) -> None:
        """Watch the guests behind these sockets from now on, and no others.

        Those that are seen already and still match stay as they are; the others are let go, as by `close`.
        New ones are not waited for.
        """
        self._globs = tuple(globs)
        await self._scan()

    async def read(self) -> list[Guest]:
        now = self._terms.clock()
        return [
            session.known.as_guest(session.path, now)
            for session in self._sessions.values()
            if session.known is not None
        ]

    async def read_one(self, key: str) -> Guest | None:
        session = self._sessions.get(key)
        if session is None or session.known is None:
            return None
        return session.known.as_guest(session.path, self._terms.clock())

    async def ask(self, keys: frozenset[str]) -> None:
        if len(keys) == 1:
            for key in keys & self._sessions.keys():
                await self._sessions[key].ask()
            return
        # A slow answer still counts when it comes: nobody is cancelled when the wait is over.
        tasks = {asyncio.create_task(self._sessions[key].ask()) for key in keys if key in self._sessions}
        if tasks:
            self._asks |= tasks
            for task in tasks:
                task.add_done_callback(self._asks.discard)
            await asyncio.wait(tasks, timeout=self._ask_s)

    def relax(self, keys: Collection[str]) -> None:
        relaxed = frozenset(keys)
        for path, session in self._sessions.items():
            session.relax(path in relaxed)

    async def size_now(self, key: str) -> int | None:
        """The guest's size, bytes, asked of QEMU now; None when it does not answer."""
        session = self._sessions.get(key)
        return None if session is None else await session.size()

    async def set_target(self, key: str, size: int) -> bool:
        session = self._sessions.get(key)
        return session is not None and await session.set_target(size)

    async def suspend(self, key: str) -> bool | None:
        session = self._sessions.get(key)
        return None if session is None else await session.suspend()

    async def resume(self, key: str) -> bool | None:
        session = self._sessions.get(key)
        return None if session is None else await session.resume()

    def problems(self) -> list[Problem]:
        return [
            *self._rescan.problems(),
            *(Problem(where=path, says=says) for path, says in self._refused.items()),
            *(
                Problem(where=session.path, says=says)
                for session in self._sessions.values()
                for says in session.problems()
            ),
        ]

    async def close(self) -> None:
        await self._rescan.stop()
        await self._let_go([*self._sessions])
        await _end([*self._asks])

    async def _scan(self) -> None:
        refused: dict[str, str] = {}
        found = sockets(self._globs, refused)
        strange = found.keys() - self._sessions.keys()
        refused |= {path: says for path in strange if (says := self._refuse(path)) is not None}
        self._refused = refused
        for path, stem in found.items():
            if path not in self._sessions and path not in self._refused:
                self._count += 1
                session = Session(path, stem, self._terms, self._wake, self._count * _GOLDEN % 1)
                self._sessions[path] = session
                self._tasks[path] = asyncio.create_task(session.run())
        gone = [path for path in self._sessions if path not in found]
        names = [known.name for path in gone if (known := self._sessions[path].known) is not None]
        await self._let_go(gone)
        for name in names:
            self._wake(f"{name} is gone")

    async def _let_go(self, paths: Sequence[str]) -> None:
        """See the guests at these sockets no more; what was switched on is given back, as far as they answer."""
        tasks = [self._tasks.pop(path) for path in paths]
        leaving = [asyncio.create_task(self._sessions.pop(path).leave()) for path in paths]
        for path in paths:
            self._terms.let_go(path)
        try:
            if leaving:
                await asyncio.wait(leaving, timeout=_LEAVE_S)
        finally:
            await _end([*leaving, *tasks])


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
