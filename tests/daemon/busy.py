"""A daemon at work: its guests' needs jump on a host smaller than all of them, and what it does for them is watched.

Time is virtual, so a late tick is one that waited for somebody.
"""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

from autoballoon.core.units import MIB
from autoballoon.guests.fake import FakeGuest
from tests.daemon.test_loop import World

LATE_S = 0.25
HURT_S = 5.0
"""A guest's need is granted within so long, the balloon's own way included."""


class Load(World):
    """A host at work. The needs of its `lively` guests jump once in five seconds; together they fit."""

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self.lively: Sequence[FakeGuest] = ()
        self.hurt: dict[str, float] = {}
        """Since when a guest has less than it needs."""
        self.starved: set[str] = set()
        self.touched: dict[str, int] = {}
        """Guests that have used no more than so much of what they may use, bytes."""
        self.least_free = self.capacity

    def held(self, guest: FakeGuest) -> int:
        return min(guest.actual, self.touched.get(guest.name, guest.max))

    async def live(self) -> None:
        """Let the guests live; until cancelled."""
        dice, now = Random(4), asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(0.5)
            self.least_free = min(self.least_free, self.free_now())
            for guest in self.lively:
                guest.advance(now())
                if guest.actual >= guest.need:
                    self.hurt.pop(guest.name, None)
                elif now() - self.hurt.setdefault(guest.name, now()) > HURT_S:
                    self.starved.add(guest.name)
                if dice.random() < 0.1:
                    guest.need = dice.randint(60, 200) * MIB

    async def ticks(self, seconds: float) -> None:
        """The ticks of so many seconds come, and in time."""
        before = (await self.status()).daemon.tick.number
        await asyncio.sleep(seconds)
        told = (await self.status()).daemon
        assert told.tick.number - before >= seconds - 1
        assert told.lateness is not None
        assert (told.lateness.missed, told.lateness.most_s < LATE_S) == (0, True)
        assert self.daemon._failures == 0
        assert self.daemon._steps.problems() == []

    async def serves(self, seconds: float) -> None:
        """As `ticks`, and each lively guest has what it needs."""
        self.starved.clear()
        await self.ticks(seconds)
        assert self.starved == set()

    async def sees(self, count: int) -> None:
        """All guests are there, and their readings are fresh."""
        guests = (await self.status()).snapshot.guests
        assert len(guests) == count
        assert [guest.name for guest in guests if guest.age_s is None or guest.age_s > 4] == []
