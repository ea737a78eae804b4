"""What is watched between two ticks: free memory of the host, guests near their edge, and guests whose agent says that
they run short; all cause early ticks."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from autoballoon.core.engine import State
from autoballoon.core.model import Guest
from autoballoon.daemon.falling import LOOK_EVERY_S, FreeWatch
from autoballoon.daemon.parts import Parts
from autoballoon.guests.hypervisor import Wake

log = logging.getLogger(__name__)

ASK_EVERY_S = 0.2
"""How often guests near their edge are asked for fresh statistics ..."""
LEAST_ASKS, MOST_ASKS, ASKS_PART = 4, 16, 4
"""... and how many of them are asked anew in one look, those that grow first, then those that have waited longest: one
in ASKS_PART, within these bounds. Asking one costs about 0.3 ms of our time, so that the watch is bounded to 0.6 % of a
processor with up to sixteen guests and to 2.4 % with any number, however many of them grow. More may be under way, of
each guest one: who is slow to answer delays no other. Guests whose agent says that they run short come on top, as often
as agents are heard."""
PRESSED_WAIT_S = 0.05
"""The statistics of a guest that says it runs short are waited for so long before the tick that it causes: an idle one
answers in 2 to 4 ms, one that thrashes may take long, and the tick looks at it all the same."""


def asks_at_once(guests: int) -> int:
    """Of so many guests, how many may be asked in one look between ticks."""
    return min(MOST_ASKS, max(LEAST_ASKS, guests // ASKS_PART))


class Watches:
    """Looks again and again from `start` to `close`, each time at the parts and the state as they are then."""

    def __init__(self, wake: Wake, current: Callable[[], tuple[Parts, State]], *, asks: bool = True) -> None:
        """`asks`: guests near their edge are asked for statistics; else those that come by themselves must do."""
        self._asks = asks
        self.next_tick = 0.0
        """When the next regular tick is due."""
        self._wake = wake
        self._current = current
        self._free = FreeWatch()
        self._tasks: list[asyncio.Task[None]] = []
        self._asked: dict[str, asyncio.Task[None]] = {}
        """Guests that are being asked for fresh statistics."""
        self._asked_at: dict[str, float] = {}

    def start(self) -> None:
        """Begin to look."""
        self._tasks = [asyncio.create_task(self._every(LOOK_EVERY_S, self._look_at_free))]
        if self._asks:
            self._tasks.append(asyncio.create_task(self._every(ASK_EVERY_S, self._look_at_edges)))

    def close(self) -> None:
        """Look no more."""
        for task in (*self._tasks, *self._asked.values()):
            task.cancel()

    def ticked(self, free: int) -> None:
        """A tick has just seen, and answered, so much free memory of the host."""
        self._free.ticked(free)

    async def _every(self, seconds: float, look: Callable[[], Awaitable[None]]) -> None:
        """Look again and again between ticks. What goes wrong here fails the next tick too, and is told there."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await look()
            except Exception:
                log.debug("a look between ticks failed", exc_info=True)

    async def _look_at_free(self) -> None:
        parts, state = self._current()
        if state.account is None:
            return
        now = asyncio.get_running_loop().time()
        if self._free.is_urgent(now, parts.host.free_now(), state.account.reserve, self.next_tick):
            self._wake("free memory falls towards the reserve")

    async def _look_at_edges(self) -> None:
        parts, state = self._current()
        now = asyncio.get_running_loop().time()
        curious = parts.engine.curious(state, now)
        wanted = curious | parts.senses.busy(parts.engine.suspects(state, now), now)
        # One that is slow to answer is not asked again, and delays no other.
        free = sorted(
            wanted - self._asked.keys(), key=lambda key: (key not in curious, self._asked_at.get(key, 0.0))
        )
        self._asked_at = {key: at for key, at in self._asked_at.items() if key in state.tracks}
        for key in free[: asks_at_once(len(state.tracks))]:
            self._begin(key, now, partial(self._ask, key))

    def pressed(self, key: str, *, waits: bool) -> None:
        """This guest's agent says that it runs short: have it looked at now.

        A tick follows when it `waits` already, when its statistics show that it is near its edge, and when they do not
        come: not when its memory only falls, for a tick too early keeps the next from coming in time (LEAST_GAP_S).
        """
        if key not in self._current()[1].tracks:
            return
        if key not in self._asked:
            now = asyncio.get_running_loop().time()
            self._begin(key, now, partial(self._ask_pressed, key, waits))
        elif waits:  # an answer is under way, and may take long
            self._wake("a guest says that it runs short")

    def _begin(self, key: str, now: float, ask: Callable[[], Awaitable[None]]) -> None:
        self._asked_at[key] = now
        self._asked[key] = asyncio.create_task(self._see_through(key, ask))

    async def _see_through(self, key: str, ask: Callable[[], Awaitable[None]]) -> None:
        try:
            await ask()
        except Exception:
            log.debug("asking %s failed", key, exc_info=True)
        finally:
            del self._asked[key]

    async def _ask_pressed(self, key: str, waits: bool) -> None:
        parts, _ = self._current()
        asking = asyncio.create_task(parts.senses.ask(frozenset((key,))))
        try:
            _, late = await asyncio.wait((asking,), timeout=PRESSED_WAIT_S)
            guest = await parts.senses.as_told(key)
            if guest is not None and (waits or late or self._near_edge(guest)):
                self._wake(f"{guest.name} says that it runs short")
            await asking
        finally:
            asking.cancel()

    async def _ask(self, key: str) -> None:
        parts, _ = self._current()
        await parts.senses.ask(frozenset((key,)))
        guest = await parts.senses.as_told(key)
        if guest is not None and self._near_edge(guest):
            self._wake(f"{guest.name} nears its edge")

    def _near_edge(self, guest: Guest) -> bool:
        parts, state = self._current()
        return parts.engine.near_edge(state, guest, asyncio.get_running_loop().time())
