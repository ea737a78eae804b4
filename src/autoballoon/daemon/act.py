"""Acting: decisions carried out by the hypervisors, each guest apart from the others."""

import asyncio
import logging
from collections.abc import Collection, Iterable

from autoballoon.core.model import Decision, Resume, SetTarget, Suspend
from autoballoon.core.units import size_text
from autoballoon.daemon.sense import Senses

log = logging.getLogger(__name__)

ACT_PATIENCE_S = 0.2
"""A tick waits this long for the guests to take their orders (a QMP round trip takes about 1 ms); whoever has
not by then is still being asked while the loop goes on."""
REFUSED_EVERY_S = 10.0
"""A guest that takes no orders is told of so often."""


class Hands:
    """Sends orders. A guest that is slow to take one gets only the newest of those that came meanwhile; a size does not
    take the place of an order to stop or to run, and comes after it."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Decision]] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._became: list[tuple[Suspend | Resume, bool | None]] = []
        self._refused_at: dict[str, float] = {}
        """When it was last told of a guest that it does not take orders."""

    async def carry_out(self, decisions: Iterable[Decision], senses: Senses, patience_s: float) -> None:
        """Send what moves a guest, all at once; returns when every guest took it, or when patience ends."""
        tasks = []
        for decision in decisions:
            if isinstance(decision, SetTarget | Suspend | Resume):
                waiting = self._waiting.get(decision.key, []) if isinstance(decision, SetTarget) else []
                stays = [one for one in waiting if not isinstance(one, SetTarget)]
                self._waiting[decision.key] = [*stays, decision]
                if decision.key not in self._busy:
                    self._busy[decision.key] = asyncio.create_task(self._send_all(decision.key, senses))
                tasks.append(self._busy[decision.key])
        if tasks:
            await asyncio.wait(tasks, timeout=patience_s)

    def became(self) -> list[tuple[Suspend | Resume, bool | None]]:
        """What became of orders to stop and to run since the last call: see guests.hypervisor."""
        became, self._became = self._became, []
        return became

    async def _send_all(self, key: str, senses: Senses) -> None:
        try:
            while waiting := self._waiting.get(key):
                decision = waiting.pop(0)
                done = await _send(decision, senses)
                if isinstance(decision, Suspend | Resume):
                    self._became.append((decision, done))
                if not done:
                    self._tell_refused(decision)
        finally:
            self._waiting.pop(key, None)
            del self._busy[key]

    def _tell_refused(self, decision: Decision) -> None:
        now = asyncio.get_running_loop().time()
        self._refused_at = {key: at for key, at in self._refused_at.items() if now - at < REFUSED_EVERY_S}
        if decision.key not in self._refused_at:
            self._refused_at[decision.key] = now
            log.warning("%s could not be asked to %s", decision.guest, _order(decision))

    async def close(self) -> Collection[str]:
        """Give up what is still under way; returns the keys of the guests that have not taken all their orders."""
        self._waiting.clear()
        under_way = dict(self._busy)
        for task in under_way.values():
            task.cancel()
        await asyncio.gather(*under_way.values(), return_exceptions=True)
        return under_way.keys()


async def _send(decision: Decision, senses: Senses) -> bool | None:
    hypervisor = senses.owner(decision.key)
    if hypervisor is None:
        return None
    match decision:
        case SetTarget(key=key, size=size):
            return await hypervisor.set_target(key, size)
        case Suspend(key=key):
            return await hypervisor.suspend(key)
        case _:
            return await hypervisor.resume(decision.key)


def _order(decision: Decision) -> str:
    match decision:
        case SetTarget(size=size):
            return f"become {size_text(size)} large"
        case Suspend():
            return "stop"
        case _:
            return "run again"
