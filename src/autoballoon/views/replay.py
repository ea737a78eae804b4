"""What a replay came to: the JSON that programs read, and the same for people."""

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from autoballoon.core.model import AnyDecision, SetTarget, Stay
from autoballoon.core.replaying import Difference, differences
from autoballoon.core.units import size_text
from autoballoon.views.columns import aligned
from autoballoon.views.sentences import sentence

MOST_KEPT = 1000
"""Differences that are told one by one."""
MOST_SHOWN = 20


class Moves(msgspec.Struct):
    """What one side did, bytes."""

    moves: int = 0
    taken: int = 0
    given: int = 0
    stops: int = 0
    """Guests stopped or let run."""

    def add(self, decisions: Sequence[AnyDecision]) -> None:
        for decision in decisions:
            if isinstance(decision, SetTarget):
                self.moves += 1
                self.taken += max(0, decision.before - decision.size)
                self.given += max(0, decision.size - decision.before)
            elif not isinstance(decision, Stay):
                self.stops += 1


class Told(msgspec.Struct, frozen=True):
    """One difference."""

    at: float
    """Seconds since 1970."""
    guest: str
    recorded: str
    replayed: str


class Summary(msgspec.Struct):
    """What `replay --json` prints."""

    recording: str
    recorded_policy: str
    policy: str
    from_s: float = 0.0
    to_s: float = 0.0
    """Seconds since 1970, as is `from_s`."""
    ticks: int = 0
    compared: int = 0
    """Decisions."""
    otherwise: int = 0
    """Of them those by which something else would have been done."""
    other_reason: int = 0
    """... and those by which the same would have been done for another reason."""
    recorded: Moves = msgspec.field(default_factory=Moves)
    replayed: Moves = msgspec.field(default_factory=Moves)
    reasons: dict[str, int] = {}
    """How often "reason -> reason"."""
    differences: list[Told] = []
    left_out: int = 0
    cut_off: str | None = None
    """Why not all of the recording was read."""

    def add(self, at: float, done: Sequence[AnyDecision], decided: Sequence[AnyDecision]) -> None:
        """One tick."""
        self.from_s, self.to_s = (self.from_s or at), at
        self.ticks += 1
        self.compared += len(done)
        self.recorded.add(done)
        self.replayed.add(decided)
        for one in differences(done, decided):
            self._count(at, one)

    def _count(self, at: float, one: Difference) -> None:
        if one.is_of_reason_only:
            self.other_reason += 1
        else:
            self.otherwise += 1
        step = f"{one.recorded.reason.value} -> {one.replayed.reason.value}"
        self.reasons[step] = self.reasons.get(step, 0) + 1
        if one.is_of_reason_only:
            return
        if len(self.differences) < MOST_KEPT:
            name = one.recorded.guest
            was, new = (sentence(d).removeprefix(f"{name}: ") for d in (one.recorded, one.replayed))
            self.differences.append(Told(round(at, 3), name, was, new))
        else:
            self.left_out += 1


def text(summary: Summary, clock: Callable[[float], str]) -> str:
    """The summary for people."""
    alike = summary.compared - summary.otherwise - summary.other_reason
    lines = [
        f"{summary.recording}: {summary.ticks} ticks, {clock(summary.from_s)} to {clock(summary.to_s)}, "
        f"recorded with policy {summary.recorded_policy}, replayed with {summary.policy}",
        f"{summary.compared} decisions: {alike} alike, {summary.otherwise} other, "
        f"{summary.other_reason} alike for another reason",
    ]
    if summary.cut_off:
        lines.append(f"not all of it was read: {summary.cut_off}")
    rows = [["", "MOVES", "TAKEN", "GIVEN", "STOPS"]]
    for name, side in (("recorded", summary.recorded), ("replayed", summary.replayed)):
        rows.append([name, str(side.moves), size_text(side.taken), size_text(side.given), str(side.stops)])
    lines += ["", *aligned(rows)]
    if summary.reasons:
        most = Counter(summary.reasons).most_common(10)
        lines += ["", "reason recorded -> replayed:", *(f"  {count:>6}  {step}" for step, count in most)]
    if summary.differences:
        lines += ["", "what would have been decided otherwise:"]
        for one in summary.differences[:MOST_SHOWN]:
            lines += [
                f"{clock(one.at)}  {one.guest}",
                f"    was:   {one.recorded}",
                f"    would: {one.replayed}",
            ]
        more = len(summary.differences) - MOST_SHOWN + summary.left_out
        if more > 0:
            kept = f"the first {MOST_KEPT}" if summary.left_out else "all of them"
            lines.append(f"and {more} more; --json prints {kept}")
    return "\n".join(lines)
