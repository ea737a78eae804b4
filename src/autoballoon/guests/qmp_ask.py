"""Asking a guest for statistics of this moment."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from autoballoon.guests.qmp_client import Command
from autoballoon.guests.qmp_device import Device
from autoballoon.guests.qmp_guest import Known
from autoballoon.guests.qmp_wire import Refused, Wire

SOONEST_S, LATEST_S = 0.006, 0.05
"""Bounds of the wait before an answer is first looked for: an idle guest needs 2 to 4 ms, a busy one under TCG up to
46, and each look costs about as much as asking did."""
GIVE_UP_S = 0.5
"""After so long the answer is left to the next regular look."""


class Asker:
    """Asks one guest; learns how long to wait for its answer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wait_s = SOONEST_S

    async def ask(self, wire: Wire, device: Device, known: Known, is_unsure: Callable[[float], bool]) -> bool:
        """Have statistics taken now; whether they came. Five or six commands in two trips, 6 ms or more.

        Polling set to 0 and back makes QEMU send a request at once. A guest that has not answered the last one is
        not asked again. The balloon's size is asked for only where `is_unsure(now)`: otherwise events have told it.
        """
        asked_at, born_at, wait_s = self._clock(), known.born_at, self._wait_s
        size = (Command("query-balloon"),) if is_unsure(asked_at) else ()
        look = device.mark, device.stats, *size
        request = device.mark, device.interval(0), device.interval(device.seconds)
        answer, *done_and_seen = await wire.run_each(*look, before=request, pause_s=wait_s)
        done, seen = done_and_seen[:2], done_and_seen[2:]
        before, owes_one = device.marked(answer)
        if owes_one or any(isinstance(one, Refused) for one in done):
            return False
        while True:
            if known.born_at != born_at:
                return False
            if self._take(device, known, seen, before, asked_at):
                self._learn(self._clock() - asked_at, at_first=wait_s == self._wait_s)
                return True
            if self._clock() - asked_at >= GIVE_UP_S:
                return False
            wait_s *= 2
            await asyncio.sleep(wait_s)
            seen = await wire.run_each(*look)

    @staticmethod
    def _take(device: Device, known: Known, seen: Sequence[Any], before: object, asked_at: float) -> bool:
        """Learn what was seen; whether that was an answer."""
        answer, raw, *sizes = seen
        for balloon in sizes:
            known.learn_actual(balloon.get("actual") if isinstance(balloon, dict) else None)
        now, _ = device.marked(answer)
        if now == before or isinstance(raw, Refused):
            return False
        known.learn_stats(raw, asked_at, is_fresh=True)
        return True

    def _learn(self, took_s: float, *, at_first: bool) -> None:
        wait_s = 0.9 * self._wait_s if at_first else took_s
        self._wait_s = min(max(wait_s, SOONEST_S), LATEST_S)
