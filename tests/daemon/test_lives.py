"""Guests come and go for as long as the daemon runs; nothing of them stays open, waiting or in memory.

A hundred lives in an ordinary run, a thousand in a soak: the daemon, its QMP sessions and its control socket are real,
the guests are fake QEMUs, and time is virtual.
"""

import asyncio
import contextlib
import gc
import itertools
import logging
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from autoballoon.core.units import KIB
from tests.daemon.qemus import Qemus
from tests.daemon.test_loop import Run

MOST_GROWN = 100 * KIB
"""By which the last 500 lives may have grown our memory: 0.2 KiB for each, the fake QEMUs' own included."""
TOGETHER = 25
"""Guests that live at the same time."""
FAULTS = (None, None, None, "cuts", "garbage", "silent")
"""How they are when they end."""


class Generations(Qemus):
    """A world whose guests come and go."""

    async def generation(self, numbers: range) -> None:
        """So many guests start, are balanced for ten seconds, and end, each in its way."""
        async with contextlib.AsyncExitStack() as stack:
            qemus = [await stack.enter_async_context(self.qemu(number)) for number in numbers]
            await asyncio.sleep(10)
            assert {one.name for one in (await self.status()).snapshot.guests} >= {f"g{n}" for n in numbers}
            for qemu, fault in zip(qemus, itertools.cycle(FAULTS), strict=False):
                qemu.fault = fault
            await asyncio.sleep(3)
        self.hypervisor.guests.clear()
        await asyncio.sleep(3)
        assert (await self.status()).snapshot.guests == ()

    def left(self) -> tuple[int, Counter[str]]:
        """Files that are open, and what the tasks are that wait."""
        gc.collect()
        tasks = Counter(
            task.get_coro().__qualname__  # type: ignore[union-attr]
            for task in asyncio.all_tasks()
        )
        return len(list(Path("/proc/self/fd").iterdir())), tasks


def test_nothing_stays_of_guests_that_have_gone(
    tmp_path: Path, virtually: Run, soak_minutes: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)  # what pytest keeps of the log grows
    lives = 1000 if soak_minutes else 100

    async def scene() -> None:
        world = Generations(tmp_path)
        async with world:
            await asyncio.sleep(2)
            halves = []
            for first in range(0, lives, TOGETHER):
                await world.generation(range(first, first + TOGETHER))
                if first + TOGETHER in (lives // 2, lives):
                    halves.append((world.left(), tracemalloc.get_traced_memory()[0]))
            (before, held), (after, held_after) = halves
            assert after == before
            assert held_after - held < MOST_GROWN

    # What explain keeps of guests that have gone is bounded, and not yet full in an ordinary run.
    if soak_minutes:
        tracemalloc.start()
    try:
        virtually(scene())
    finally:
        tracemalloc.stop()
