"""Who is relieved of huge pages with holes, and when."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from autoballoon.core.errors import CouldNot
from autoballoon.core.model import Guest
from autoballoon.core.units import MIB
from autoballoon.daemon.holes import NOTHING_S, Holes
from autoballoon.host.huge import Splits

Virtually = Callable[[Coroutine[Any, Any, None]], None]


def guest(name: str, size: int) -> Guest:
    return Guest(key=name, name=name, max=512 * MIB, actual=size * MIB, pid=len(name))


class Splitter:
    """Counts what it is asked to split; each takes `took_s`, and a processor for 30 ms of it."""

    def __init__(self, found: int = 7, took_s: float = 0.03) -> None:
        self.asked: list[int] = []
        self.found = found
        self.took_s = took_s

    async def split(self, pid: int) -> Splits | None:
        self.asked.append(pid)
        await asyncio.sleep(self.took_s)
        return Splits(self.found, cpu_s=0.03)

    def holes(self) -> Holes:
        return Holes(self.split, lambda: asyncio.get_running_loop().time())

    async def holes_of_two(self) -> Holes:
        """Two guests gave up memory at once, `bb` the most, and one split is under way."""
        holes = self.holes()
        holes.look([guest("a", 512), guest("bb", 512)])
        holes.look([guest("a", 480), guest("bb", 200)])
        await asyncio.sleep(0.01)
        return holes


def test_a_guest_that_became_smaller_is_relieved_once(virtually: Virtually) -> None:
    async def story() -> None:
        splitter = Splitter()
        holes = splitter.holes()
        for size in (512, 300, 300, 300):
            holes.look([guest("a", size)])
            await asyncio.sleep(5)
        assert splitter.asked == [1]

    virtually(story())


def test_growth_and_small_change_are_left_alone(virtually: Virtually) -> None:
    async def story() -> None:
        splitter = Splitter()
        holes = splitter.holes()
        for size in (300, 400, 512, 510):
            holes.look([guest("a", size)])
            await asyncio.sleep(5)
        assert splitter.asked == []

    virtually(story())


def test_the_guest_that_gave_up_most_comes_first_and_one_at_a_time(virtually: Virtually) -> None:
    async def story() -> None:
        splitter = Splitter()
        holes = await splitter.holes_of_two()
        holes.look([guest("a", 480), guest("bb", 200)])
        assert splitter.asked == [2]
        await asyncio.sleep(1)
        assert splitter.asked == [2, 1], "the next one does not wait for a tick"

    virtually(story())


def test_how_soon_it_comes_again_is_a_matter_of_processor_time(virtually: Virtually) -> None:
    async def story() -> None:
        splitter = Splitter(took_s=1.0)  # the guests keep the processors busy
        holes = splitter.holes()
        for quarter in range(16):
            holes.look([guest("a", 512 - 20 * quarter)])
            await asyncio.sleep(0.25)
        assert splitter.asked == [1, 1], "1 s, and 40 times 30 ms"

    virtually(story())


def test_the_end_waits_for_one_and_begins_no_other(virtually: Virtually) -> None:
    async def story() -> None:
        splitter = Splitter()
        holes = await splitter.holes_of_two()
        await holes.close()
        assert splitter.asked == [2]

    virtually(story())


def test_what_finds_nothing_is_not_tried_again_soon(virtually: Virtually) -> None:
    async def story() -> None:
        splitter = Splitter(found=0)
        holes = splitter.holes()
        for second in range(round(NOTHING_S) - 1):
            holes.look([guest("a", 512 - 20 * second)])
            await asyncio.sleep(1)
        assert splitter.asked == [1]
        await asyncio.sleep(3)
        holes.look([guest("a", 100)])
        await asyncio.sleep(1)
        assert splitter.asked == [1, 1]

    virtually(story())


def test_what_could_not_be_tried_is_tried_again(virtually: Virtually) -> None:
    async def story() -> None:
        asked: list[float] = []

        async def split(pid: int) -> Splits | None:
            asked.append(asyncio.get_running_loop().time())
            if len(asked) < 3:
                raise CouldNot("no thread could be started")
            return Splits(7, cpu_s=0.03)

        holes = Holes(split, lambda: asyncio.get_running_loop().time())
        for size in (512, *[300] * 100):
            holes.look([guest("a", size)])
            await asyncio.sleep(1)
        assert len(asked) == 3, "the guest gave up nothing more meanwhile"
        assert asked[1] - asked[0] >= NOTHING_S

    virtually(story())
