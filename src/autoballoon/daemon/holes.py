"""Huge pages with holes: after a guest's balloon has grown, have the host free what it gave up."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from autoballoon.core.errors import CouldNot
from autoballoon.core.model import Guest
from autoballoon.core.units import MIB
from autoballoon.host.huge import Splits

log = logging.getLogger(__name__)

WORTH = 16 * MIB
"""A guest that has given up less than this since the last time can wait."""
COST = 40
"""Splitting takes at most one part in this many of a processor's time, for each guest ..."""
NOTHING_S = 20.0
"""... and is left alone for so long after a time that found nothing to split."""


class Holes:
    """Watches guests become smaller; splits for one guest at a time."""

    def __init__(self, split: Callable[[int], Awaitable[Splits | None]], clock: Callable[[], float]) -> None:
        """`split(pid)` does it, or says None where it may not (host.process.ProcessReader).

        CouldNot from it: not now; what the guest gave up is tried again.
        """
        self._split = split
        self._clock = clock
        self._guests: list[Guest] = []
        self._largest: dict[str, int] = {}
        self._again_at: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def look(self, guests: Iterable[Guest]) -> None:
        """Take note of sizes; start to split for those that have given up enough since they were last done."""
        self._guests = list(guests)
        self._largest = {g.key: max(self._largest.get(g.key, g.actual), g.actual) for g in self._guests}
        self._again_at = {key: at for key, at in self._again_at.items() if key in self._largest}
        if (self._task is None or self._task.done()) and self._next() is not None:
            self._task = asyncio.create_task(self._split_all())

    def _gave(self, guest: Guest) -> int:
        return self._largest[guest.key] - guest.actual

    def _next(self) -> Guest | None:
        """The guest that has given up most, if anyone's turn has come."""
        now = self._clock()
        due = [
            g for g in self._guests
            if g.pid is not None and self._gave(g) >= WORTH and now >= self._again_at.get(g.key, now)
        ]  # fmt: skip
        return max(due, key=self._gave, default=None)

    async def _split_all(self) -> None:
        while (guest := self._next()) is not None:
            await self._split_one(guest)

    async def _split_one(self, guest: Guest) -> None:
        assert guest.pid is not None
        try:
            split = await self._split(guest.pid)
        except CouldNot as error:
            log.debug("%s: huge pages stay whole: %s", guest.name, error)
            self._again_at[guest.key] = self._clock() + NOTHING_S
            return
        wait_s = COST * split.cpu_s if split is not None and split.found else NOTHING_S
        self._again_at[guest.key] = self._clock() + wait_s
        self._largest[guest.key] = guest.actual

    async def close(self) -> None:
        """Begin no more, and wait for what is under way."""
        self._guests = []
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
