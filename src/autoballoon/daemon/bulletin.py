"""What is told after each tick: to who asks by the control socket, to systemd, to Prometheus, in the log."""

import os
from collections.abc import Callable, Sequence

from autoballoon import __version__
from autoballoon.core.engine import State
from autoballoon.core.model import Decision, Snapshot
from autoballoon.daemon.chronicle import Chronicle
from autoballoon.daemon.control import Board
from autoballoon.daemon.metrics import Metrics
from autoballoon.daemon.parts import Parts
from autoballoon.daemon.systemd import Manager
from autoballoon.guests.hypervisor import Problem
from autoballoon.views.status import DaemonStatus, Lateness, Status, Tick, Trouble, books, encode, tell
from autoballoon.views.summary import summary


class Bulletin:
    """Tells of ticks wherever it is wanted."""

    def __init__(
        self, manager: Manager, chronicle: Chronicle, more: Callable[[], Sequence[Problem]] = list
    ) -> None:
        """`more`: problems that neither the parts nor the senses know of."""
        self.board = Board()
        self.metrics = Metrics()
        self.started = 0.0
        """When the daemon began, by the clock that gives `now`."""
        self._manager = manager
        self._chronicle = chronicle
        self._more = more

    def tell(
        self,
        parts: Parts,
        state: State,
        snapshot: Snapshot,
        decisions: Sequence[Decision],
        tick: Tick,
        lateness: Lateness,
        logged: Sequence[Problem],
        now: float,
    ) -> None:
        """A tick has ended well; `logged`: problems that the log has already (a move that would have broken an
        invariant, a reload that was refused)."""
        problems = _troubles(
            [*parts.problems, *parts.senses.problems(), *self._more(), *self.metrics.problems()]
        )
        self._chronicle.troubles(problems, now)
        account = state.account
        assert account is not None  # a step always leaves its books
        for guest in snapshot.guests:
            parts.agents.tell(guest, state.tracks[guest.key].target)
        daemon = DaemonStatus(
            version=__version__,
            pid=os.getpid(),
            policy=parts.config.policy,
            dry_run=parts.config.dry_run,
            interval_s=parts.config.interval_s,
            up_s=round(now - self.started, 3),
            tick=tick,
            account=books(account),
            problems=problems + _troubles(logged),
            overload=parts.config.overload,
            lateness=lateness,
            agents=parts.agents.status(snapshot.guests),
        )
        self.board.put(lambda: encode(Status(daemon, snapshot, tell(decisions, state.tracks))))
        self._manager.status(summary(Status(daemon, snapshot, ())), now)
        self.metrics.tick(daemon, snapshot, decisions, state.tracks)


def _troubles(problems: Sequence[Problem]) -> tuple[Trouble, ...]:
    return tuple(Trouble(one.where, one.says, one.kind) for one in problems)
