"""The engine's steps, checked: a move that would break an invariant is a defect of ours, and is not made."""

import logging
from collections.abc import Sequence

from autoballoon.core.engine import Engine, State
from autoballoon.core.invariants import Violation, hold_back, violations
from autoballoon.core.model import AnyDecision, Snapshot
from autoballoon.guests.hypervisor import Problem

log = logging.getLogger(__name__)


class CheckedSteps:
    """Counts what each invariant held back; the first of each goes to the log, all of them into the status."""

    def __init__(self) -> None:
        self._last: dict[str, Violation] = {}
        self._counts: dict[str, int] = {}

    def step(
        self, engine: Engine, before: State, snapshot: Snapshot, now: float
    ) -> tuple[State, Sequence[AnyDecision]]:
        """As Engine.step, but a guest whose move would break an invariant stays."""
        after, decisions = engine.step(before, snapshot, now)
        found = violations(engine, before, snapshot, after, decisions, now)
        for one in found:
            if one.invariant not in self._last:
                log.error(
                    "a defect of autoballoon, and the move is held back: %s: %s", one.invariant, one.says
                )
            self._last[one.invariant] = one
            self._counts[one.invariant] = self._counts.get(one.invariant, 0) + 1
        return hold_back(found, before, snapshot, after, decisions, now)

    def problems(self) -> list[Problem]:
        """One for each invariant that would have been broken since the start."""
        return [
            Problem(
                f"invariant {name}",
                f"{count} times a move was held back that would have broken it, last: {self._last[name].says}; "
                "this is a defect of autoballoon, please report it with this status",
            )
            for name, count in sorted(self._counts.items())
        ]
