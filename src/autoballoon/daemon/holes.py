"""Huge pages with holes: after a guest's balloon has grown, have the host free what it gave up."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from autoballoon.core.model import Guest
from autoballoon.core.units import MIB

WORTH = 16 * MIB
"""A guest that has given up less than this since the last time can wait."""
COST = 40
"""Splitting takes at most one part in this many of the time, for each guest ..."""
NOTHING_S = 20.0
"""... and is left alone for so long after a time that found nothing to split."""


class Holes:
    """Watches guests become smaller; splits for one guest at a time."""

    def __init__(self, split: Callable[[int], Awaitable[int | None]], clock: Callable[[], float]) -> None:
        """`split(pid)` does it and says how many huge pages there were, or None (host.process.ProcessReader)."""
        self._split = split
        self._clock = clock
        self._largest: dict[str, int] = {}
        self._again_at: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def look(self, guests: Iterable[Guest]) -> None:
        """Take note of sizes; start to split for the guest that has given up most since it was last done."""
        guests = list(guests)
        self._largest = {g.key: max(self._largest.get(g.key, g.actual), g.actual) for g in guests}
        if self._task is not None and not self._task.done():
            return
        now = self._clock()
        self._again_at = {key: at for key, at in self._again_at.items() if key in self._largest}
        due = [
            g for g in guests
            if g.pid is not None
            and self._largest[g.key] - g.actual >= WORTH
            and now >= self._again_at.get(g.key, now)
        ]  # fmt: skip
        if due:
            chosen = max(due, key=lambda g: self._largest[g.key] - g.actual)
            self._task = asyncio.create_task(self._split_one(chosen))

    async def _split_one(self, guest: Guest) -> None:
        assert guest.pid is not None
        began = self._clock()
        found = await self._split(guest.pid)
        ended = self._clock()
        wait_s = COST * (ended - began) if found else NOTHING_S
        self._again_at[guest.key] = ended + wait_s
        self._largest[guest.key] = guest.actual

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
