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


VAIN_TICKS, VAIN_EVERY_S = 5, 2.0
"""A guest that says it waits for memory, while its statistics show no lack or do not come, causes so many ticks that
give it nothing, and then one in so many seconds: a tick looks at all guests, whoever caused it."""


class _Claims:
    """The ticks that one guest causes by what it says alone; what they give it earns it more."""

    def __init__(self, target: int, now: float) -> None:
        self._left = float(VAIN_TICKS)
        self._at = now
        self._target = target
        self._tick = -1

    def take(self, tick: int, target: int, now: float) -> bool:
        """Whether it may cause the tick after the one of this number, which left it with this target."""
        if tick == self._tick:
            return True  # it has caused that already
        self._left = min(float(VAIN_TICKS), self._left + (now - self._at) / VAIN_EVERY_S)
        if target > self._target:
            self._left = float(VAIN_TICKS)
        self._at, self._target = now, target
        if self._left < 1.0:
            return False
        self._left -= 1.0
        self._tick = tick
        return True


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
        self._claims: dict[str, _Claims] = {}
        self._ticks = 0

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
        self._ticks += 1
        if self._claims:
            tracks = self._current()[1].tracks
            self._claims = {key: claims for key, claims in self._claims.items() if key in tracks}

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

        A tick follows when its statistics show that it is near its edge, and, within bounds (VAIN_TICKS), when they do
        not come or it `waits` already: not when its memory only falls, for a tick too early keeps the next from coming
        in time (LEAST_GAP_S).
        """
        if key not in self._current()[1].tracks:
            return
        if key not in self._asked:
            now = asyncio.get_running_loop().time()
            self._begin(key, now, partial(self._ask_pressed, key, waits))
        elif waits and self._is_believed(key):  # an answer is under way, and may take long
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
            if guest is not None and (self._near_edge(guest) or ((waits or late) and self._is_believed(key))):
                self._wake(f"{guest.name} says that it runs short")
            await asking
        finally:
            asking.cancel()

    def _is_believed(self, key: str) -> bool:
        """Whether what this guest says is to cause a tick, whatever its statistics show."""
        now, track = asyncio.get_running_loop().time(), self._current()[1].tracks.get(key)
        if track is None:
            return False
        claims = self._claims.setdefault(key, _Claims(track.target, now))
        return claims.take(self._ticks, track.target, now)

    async def _ask(self, key: str) -> None:
        parts, _ = self._current()
        await parts.senses.ask(frozenset((key,)))
        guest = await parts.senses.as_told(key)
        if guest is not None and self._near_edge(guest):
            self._wake(f"{guest.name} nears its edge")

    def _near_edge(self, guest: Guest) -> bool:
        parts, state = self._current()
        return parts.engine.near_edge(state, guest, asyncio.get_running_loop().time())
