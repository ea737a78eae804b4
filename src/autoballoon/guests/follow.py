"""When to look at a guest, and at a balloon that is on its way: times only, no input or output."""

from math import floor

from autoballoon.core.units import PAGE

FOLLOW_S, FOLLOW_DOWN_S, FOLLOW_UP_S = 3.0, 0.1, 0.5
"""How long, and how often, a moving balloon is looked at: QEMU sends one BALLOON_CHANGE a second at most. Others may
be waiting for what a guest gives up; nobody waits for one to take what is its own already."""
SOONEST_S, LATEST_S = 0.04, 0.3
"""Bounds of the wait for what is given up, once it is known how fast this guest gives."""
EVENT_GAP_S = 1.5
"""So long after a BALLOON_CHANGE the balloon may be elsewhere already, with the event that says so still to come."""


def next_look(after: float, phase: float, every_s: float) -> float:
    """The first time after `after` at which a guest of this phase (0 to 1) is due, `every_s` apart.

    However often each is looked at, guests of evenly spread phases stay evenly spread.
    """
    own = phase * every_s
    turns = floor((after - own) / every_s + 1e-6)  # what is due now is not due again for a rounding
    return own + every_s * (turns + 1)


class Looks:
    """When one guest is looked at regularly, at its own phase (0 to 1) of the time between two looks."""

    def __init__(self, phase: float, every_s: float, calm_every_s: float) -> None:
        self.due = 0.0
        """When to look next."""
        self._phase = phase
        self._every_s = self._usual_s = every_s
        self._calm_every_s = calm_every_s
        self._from = 0.0

    def looked(self, now: float) -> None:
        """It has been looked at, or is just met."""
        self._from = now
        self.due = next_look(now, self._phase, self._every_s)

    def relax(self, now: float, *, is_so: bool) -> bool:
        """Whether it may be looked at less often; True when that makes the next look come sooner.

        All may end to be calm in one moment: each then goes on at its own time, and not all at once.
        """
        before, self._every_s = self._every_s, self._calm_every_s if is_so else self._usual_s
        ends = self._every_s < before
        if self._every_s != before:
            self.looked(now if ends else self._from)
        return ends


class Follow:
    """One guest's balloon: followed from `begin` until it has arrived, stands still, or FOLLOW_S have passed.

    A balloon that inflates is looked at when it should have arrived, as fast as it was before.
    """

    def __init__(self) -> None:
        self.at: float | None = None
        """When to look next; None while nothing is followed."""
        self.grows = False
        """The balloon deflates."""
        self._until = 0.0
        self._target: int | None = None
        self._told_at = -EVENT_GAP_S
        self._seen: tuple[float, int] = (0.0, 0)
        """When it was last looked at, and its size then."""
        self._speed: float | None = None
        """Bytes a second that it inflates; None while unknown."""

    def begin(self, now: float, actual: int, target: int | None = None) -> None:
        """The balloon moves from `actual`, to `target` or, without one, by itself."""
        self._target = target
        self.grows = target is not None and target > actual
        self._until = now + FOLLOW_S
        self._seen = now, actual
        self.at = self._next(now, actual)

    def stop(self) -> None:
        """Nobody moves it."""
        self.at = None

    def told(self, now: float) -> None:
        """QEMU has told of a change."""
        self._told_at = now

    def is_unsure(self, now: float) -> bool:
        """Whether the size that was last heard of may not be the present one."""
        return self.at is not None or now - self._told_at < EVENT_GAP_S

    def looked(self, now: float, actual: int) -> bool:
        """Seen at `actual`; True when there is no more to follow, False also where nothing was followed any more."""
        if self.at is None:  # stopped while the answer was on its way
            return False
        arrived = actual == self._seen[1] if self._target is None else abs(actual - self._target) < PAGE
        self._learn(now, actual, arrived=arrived)
        self.at = None if arrived or now >= self._until else self._next(now, actual)
        return self.at is None

    def _learn(self, now: float, actual: int, *, arrived: bool) -> None:
        then, before = self._seen
        self._seen = now, actual
        gave, took_s = before - actual, now - then
        if self._target is None or self.grows or took_s <= 0:
            return
        speed = gave / took_s if gave > 0 else None
        # What has arrived may have done so earlier: the next look comes a little sooner.
        self._speed = max(1.1 * speed, self._speed or 0.0) if arrived and speed is not None else speed

    def _next(self, now: float, actual: int) -> float:
        if self.grows:
            return now + FOLLOW_UP_S
        if self._target is None or self._speed is None:
            return now + FOLLOW_DOWN_S
        return now + min(max((actual - self._target) / self._speed, SOONEST_S), LATEST_S)
