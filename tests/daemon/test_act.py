"""Orders to guests that are slow to take them: which of those that came meanwhile is sent, and which is not."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from autoballoon.core.model import Reason, Resume, SetTarget, Suspend
from autoballoon.daemon.act import Hands

Run = Callable[[Coroutine[Any, Any, Any]], Any]

RUN = Resume("k", "g", Reason.FAREWELL, {})
STOP = Suspend("k", "g", Reason.OVERLOAD, {})


def size(to: int) -> SetTarget:
    return SetTarget("k", "g", Reason.FAREWELL, {}, before=0, size=to)


class Slow:
    """The senses and the hypervisor of one guest, which takes a second for each order."""

    def __init__(self) -> None:
        self.took: list[object] = []

    def owner(self, key: str) -> "Slow":
        return self

    async def set_target(self, key: str, size: int) -> bool:
        return await self._take(size)

    async def suspend(self, key: str) -> bool:
        return await self._take("stop")

    async def resume(self, key: str) -> bool:
        return await self._take("run")

    async def _take(self, what: object) -> bool:
        await asyncio.sleep(1)
        self.took.append(what)
        return True


def taken(virtually: Run, *orders: Resume | Suspend | SetTarget) -> list[object]:
    """What the guest takes of orders that come while it takes another."""

    async def main() -> list[object]:
        slow, hands = Slow(), Hands()
        for order in (size(1), *orders):
            await hands.carry_out([order], slow, 0.1)  # type: ignore[arg-type]
        await asyncio.sleep(10)
        await hands.close()
        assert slow.took.pop(0) == 1
        return slow.took

    took: list[object] = virtually(main())
    return took


def test_only_the_newest_size_is_sent(virtually: Run) -> None:
    assert taken(virtually, size(2), size(3)) == [3]


def test_a_size_does_not_take_the_place_of_an_order_to_stop_or_to_run(virtually: Run) -> None:
    assert taken(virtually, RUN, size(2)) == ["run", 2]
    assert taken(virtually, STOP, size(2), size(3)) == ["stop", 3]


def test_an_order_to_stop_or_to_run_takes_the_place_of_all_before_it(virtually: Run) -> None:
    assert taken(virtually, size(2), STOP, size(3), RUN) == ["run"]
