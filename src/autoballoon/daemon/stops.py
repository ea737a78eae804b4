"""Guests that we stopped, kept in the state file for as long as they may stand still because of us.

What is in the file can be resumed by whoever comes after this daemon. So a guest is entered before it is told to
stop, and crossed out only when it has been seen to run, or is no more.
One that runs because it has not stopped yet stays there: libvirt may carry out an order when who gave it has ended.
"""

import logging
from collections.abc import Container, Iterable, Sequence

from autoballoon.core.engine import Engine, State
from autoballoon.core.errors import CouldNot
from autoballoon.core.model import AnyDecision, Decision, Guest, Reason, Resume, Stay, Suspend
from autoballoon.core.track import LAND_S
from autoballoon.daemon.keeper import Identity, Keeper
from autoballoon.daemon.statefile import Stopped

log = logging.getLogger(__name__)


class Stops:
    """The guests in the state file."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._late: dict[str, Stopped] = {}
        """Told to stop by a daemon before this one, and not seen stopped since; by key."""

    @property
    def entries(self) -> tuple[Stopped, ...]:
        """Who is in the file."""
        return self._keeper.saved.stopped

    def inherit(self) -> None:
        """Who is in the file now was told to stop by a daemon before this one."""
        self._late = {one.key: one for one in self.entries}

    def remind(self, engine: Engine, state: State, now: float) -> State:
        """The state in which those are owed who may yet stop because a daemon before this one told them to."""
        self._late = {
            key: one
            for key, one in self._late.items()
            if may_land(one, now) and ((track := state.tracks.get(key)) is None or track.pause is None)
        }
        return engine.owe(state, self._late_pids) if self._late else state

    @property
    def _late_pids(self) -> dict[str, int]:
        return {key: one.pid for key, one in self._late.items()}

    async def keep(
        self, engine: Engine, state: State, decisions: Sequence[AnyDecision], identity: Identity, now: float
    ) -> tuple[State, Sequence[AnyDecision]]:
        """Have all in the file whom the engine counts as stopped by us: before they are told to stop.

        When that fails nobody is stopped: the state and the decisions are those to go on with.
        """
        pids = self._late_pids | dict(engine.stopped(state))
        known = {(one.key, one.pid): one for one in self.entries}
        is_written = known.keys() == pids.items() and not self._keeper.is_late
        if is_written and not state.load.owed:  # who is out of sight may have ended
            return state, decisions
        names = {decision.key: decision.guest for decision in decisions}
        stopped = []
        for key, pid in pids.items():
            process = identity(pid)
            entry = known.get((key, pid))
            if process is not None and (entry is None or entry.process == process):
                stopped.append(entry or Stopped(key, names.get(key, key), pid, process, now))
        try:
            await self._keeper.put(stopped=tuple(stopped))
        except CouldNot as error:
            orders = [(one, False) for one in decisions if isinstance(one, Suspend)]
            log.log(logging.ERROR if orders else logging.DEBUG, "no guest is stopped: %s", error)
            state = engine.learnt(state, orders, now)
            decisions = [_left_alone(one, state) if isinstance(one, Suspend) else one for one in decisions]
        return state, decisions

    def owed(self, decisions: Iterable[Decision]) -> list[Decision]:
        """Of these decisions, those that let a guest run which is in the file."""
        keys = {one.key for one in self.entries}
        return [one for one in decisions if isinstance(one, Resume) and one.key in keys]

    async def cross_out(self, guests: Iterable[Guest], state: State) -> None:
        """Of these guests, forget those that run and will not stop yet: when no engine is stepped any more.

        CouldNot when that fails.
        """
        pauses = ((key, track.pause) for key, track in state.tracks.items())
        late = self._late.keys() | {key for key, pause in pauses if pause is not None and not pause.seen}
        await self.forget({guest.key for guest in guests if guest.running} - late)

    async def forget(self, keys: Container[str]) -> None:
        """Cross out these guests. CouldNot when that fails."""
        await self._keeper.put(stopped=tuple(one for one in self.entries if one.key not in keys))


def may_land(one: Stopped, now: float) -> bool:
    """Whether it may stop only now, where nobody has seen it do so."""
    return now <= one.told_at + LAND_S


def _left_alone(order: Suspend, state: State) -> Stay:
    return Stay(order.key, order.guest, Reason.SETTLED, order.numbers, size=state.tracks[order.key].target)
