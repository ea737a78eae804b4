"""When ticks come, on virtual time: each test wakes at some times and is told when the ticks came."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import pytest

from autoballoon.daemon.pulse import LEAST_GAP_S, PROMPT_GAP_S, Pulse

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def ticks(virtually: Run, wakes: Sequence[tuple[float, bool]], until: float = 0.95) -> list[float]:
    """When early ticks came, of wakes at these times that were prompt or not; the first tick is at 0."""

    async def main() -> list[float]:
        pulse, began = Pulse(), asyncio.get_running_loop().time()
        came: list[float] = []
        pulse.begin()
        for at, prompt in wakes:
            asyncio.get_running_loop().call_at(began + at, partial(pulse.wake, "x", prompt=prompt))
        while True:
            beat = pulse.beat(await pulse.wait(), 1.0)
            if beat.begun - began > until:
                return came
            came.append(round(beat.begun - began, 3))

    return list(virtually(main()))


@pytest.mark.parametrize(
    ("wakes", "came"),
    [
        ([(0.01, False)], [LEAST_GAP_S]),
        ([(0.01, True)], [PROMPT_GAP_S]),
        ([(0.12, True)], [0.12]),
        ([(0.01, False), (0.1, True)], [0.1]),  # what is prompt does not wait with what is not
        ([(0.3, False), (0.31, True), (0.36, True)], [0.3, 0.35, 0.55]),
        ([(at / 100, True) for at in range(1, 80)], [0.05, 0.25, 0.45, 0.65, 0.85]),
        ([(at / 100, at % 2 == 0) for at in range(1, 60)], [0.05, 0.25, 0.45, 0.65]),
    ],
)
def test_a_tick_that_somebody_waits_for_comes_sooner_and_is_no_more_often(
    virtually: Run, wakes: list[tuple[float, bool]], came: list[float]
) -> None:
    assert ticks(virtually, wakes) == [0.0, *came]


def test_stopping_waits_for_no_gap(virtually: Run) -> None:
    async def main() -> float:
        pulse = Pulse()
        pulse.begin()
        pulse.beat(await pulse.wait(), 1.0)
        pulse.wake("early")
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, pulse.hurry, "stop")
        began = loop.time()
        await pulse.wait()
        return round(loop.time() - began, 3)

    assert virtually(main()) == 0.01
