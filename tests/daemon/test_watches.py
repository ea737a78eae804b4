"""How many guests are asked between two ticks, however many are near their edge."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from autoballoon.daemon.watches import (
    LEAST_ASKS,
    MOST_ASKS,
    VAIN_EVERY_S,
    VAIN_TICKS,
    Watches,
    asks_at_once,
)
from autoballoon.guests.hypervisor import sleep_on


class Asked:
    """The parts of a daemon of so many guests, all near their edge, those in `slow` never answering."""

    def __init__(self, guests: int, growing: int = 0) -> None:
        self.keys = [f"g{number}" for number in range(guests)]
        self.asked: list[str] = []
        self.slow: set[str] = set()
        engine = SimpleNamespace(
            curious=lambda state, now: frozenset(self.keys[:growing]),
            suspects=lambda state, now: frozenset(self.keys),
            near_edge=lambda state, guest, now: False,
        )
        self.parts = SimpleNamespace(engine=engine, senses=self)
        self.state = SimpleNamespace(tracks=dict.fromkeys(self.keys))

    def busy(self, keys: frozenset[str], now: float) -> frozenset[str]:
        return keys

    async def ask(self, keys: frozenset[str]) -> None:
        self.asked += keys
        if keys & self.slow:
            await asyncio.Event().wait()

    async def as_told(self, key: str) -> None:
        return None

    async def looks(self, count: int) -> list[Counter[str]]:
        """Who was asked in each of so many looks."""
        current: Any = lambda: (self.parts, self.state)  # noqa: E731
        watches = Watches(sleep_on, current)
        found = []
        for _ in range(count):
            self.asked.clear()
            await watches._look_at_edges()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            found.append(Counter(self.asked))
        watches.close()
        return found


@pytest.mark.parametrize(
    ("guests", "most"), [(3, 3), (8, LEAST_ASKS), (32, 8), (64, MOST_ASKS), (1000, MOST_ASKS)]
)
async def test_one_look_asks_a_bounded_number(guests: int, most: int) -> None:
    assert [one.total() for one in await Asked(guests).looks(10)] == [most] * 10
    assert most <= asks_at_once(guests)


async def test_all_have_their_turn_and_those_that_grow_come_first() -> None:
    looks = await Asked(64).looks(4)
    assert sum(looks, Counter()) == Counter(f"g{number}" for number in range(64))
    first = (await Asked(64, growing=10).looks(1))[0]
    assert first.keys() >= {f"g{number}" for number in range(10)}


class Claiming(Asked):
    """One guest whose agent says again and again that it waits for memory; its statistics show no lack of it."""

    def __init__(self, *, answers: bool) -> None:
        super().__init__(1)
        self.slow = set() if answers else set(self.keys)
        self.track = SimpleNamespace(target=100)
        self.state = SimpleNamespace(tracks={"g0": self.track})
        self.guest = SimpleNamespace(name="g0")
        self.given = 0
        """What each tick adds to its target."""

    async def as_told(self, key: str) -> Any:
        return self.guest

    async def ticks(self, seconds: float) -> int:
        """How many it causes, one in 0.2 s at the most, with ten lines a second; and a regular one each second."""
        woken, caused = asyncio.Event(), 0
        current: Any = lambda: (self.parts, self.state)  # noqa: E731
        watches = Watches(lambda why, freed=False: woken.set(), current)
        for line in range(round(seconds * 10)):
            watches.pressed("g0", waits=True)
            await asyncio.sleep(0.1)
            if (woken.is_set() and line % 2) or line % 10 == 0:
                caused += woken.is_set()
                woken.clear()
                self.track.target += self.given
                watches.ticked(1)
        watches.close()
        return caused


@pytest.mark.parametrize("answers", [True, False])
def test_who_only_says_that_it_waits_causes_few_ticks_unless_they_give_it_something(
    virtually: Any, answers: bool
) -> None:
    async def main() -> None:
        claiming = Claiming(answers=answers)
        assert await claiming.ticks(60) <= VAIN_TICKS + 60 / VAIN_EVERY_S + 1
        claiming.given = 1
        assert await claiming.ticks(60) >= 5 * 60 * 0.9

    virtually(main())


async def test_who_never_answers_is_asked_once_and_delays_no_other() -> None:
    asked = Asked(64)
    asked.slow = set(asked.keys[:20])
    looks = await asked.looks(8)
    assert all(one.total() == MOST_ASKS for one in looks)
    told = sum(looks, Counter())
    assert {told[key] for key in asked.slow} == {1}
    assert all(told[key] >= 2 for key in asked.keys[20:])
