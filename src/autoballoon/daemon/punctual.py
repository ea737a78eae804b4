"""How punctual regular ticks have been lately."""

from collections import deque

from autoballoon.views.status import Lateness

LATELY = 60
"""Ticks: a minute at the usual interval."""


class Punctuality:
    """Remembers by how much the last regular ticks came late."""

    def __init__(self) -> None:
        self._late_s: deque[float] = deque(maxlen=LATELY)
        self._missed: deque[int] = deque(maxlen=LATELY)

    def note(self, late_s: float, interval_s: float) -> None:
        """A regular tick began `late_s` after its time: so many whole intervals had no tick at all."""
        self._late_s.append(late_s)
        self._missed.append(int(late_s // interval_s))

    def lately(self) -> Lateness:
        """Of the last LATELY ticks."""
        ranked = sorted(self._late_s) or [0.0]
        return Lateness(
            ticks=len(self._late_s),
            missed=sum(self._missed),
            p50_s=round(ranked[len(ranked) // 2], 6),
            p99_s=round(ranked[len(ranked) * 99 // 100], 6),
            most_s=round(ranked[-1], 6),
        )
