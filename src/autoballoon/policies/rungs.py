"""Rungs: one guest's claims on memory, each a size that includes those below it."""

import msgspec

from autoballoon.core.model import Guest, Reason
from autoballoon.core.track import Reading, Track
from autoballoon.core.units import MIB
from autoballoon.policies.habits import HUNGRY_RATE, Habit

GUEST_REACT_S = 0.5
"""From a guest's first byte of growth to its grant: a statistics round (0.2 s) and the deflation."""
RUN_S = 0.7
"""A guest that is growing gets room for so long: fewer and larger moves."""
NEAR_END = 1 / 2
"""With less than this part of its least headroom available, a guest is at the end of its memory ..."""
KEPT = 5 / 8
"""... so in an overload it keeps this part beyond its need: with less, its need would seem to rise and fall with it."""
APPETITE_MIN, APPETITE_PART = 64 * MIB, 8
"""What a guest that reads again what it dropped is given at a time beyond its cache, as long as it fills it: bytes, or
a part of its maximum."""
LEARNT_HALF_S = 300.0
"""A size at which a guest fought is half forgotten after this time."""


class Rungs(msgspec.Struct, frozen=True, gc=False):
    """One guest's claims, each the size it would have when that rung is full."""

    floor: int
    need: int
    headroom: int
    warm: int
    cold: int
    top: int
    base: int
    """The least headroom it should have, bytes."""
    least: int
    """The smallest size at which what it needs can be told."""
    held: int = 0
    """What it has and would not give up when it was asked, or is not to: that is promised to no other (I5)."""

    def taken(self, size: int) -> Reason:
        """What a guest loses that is left with `size`."""
        if size >= self.cold:
            return Reason.TAKE_SURPLUS
        if size >= self.warm:
            return Reason.TAKE_COLD_CACHE
        if size >= self.headroom:
            return Reason.TAKE_WARM_CACHE
        return Reason.TAKE_HEADROOM if size >= self.need else Reason.TAKE_NEED


def rungs_of(guest: Guest, track: Track, habit: Habit, now: float) -> Rungs:
    """The ladder of one guest; each rung includes those below it.

    Headroom may hold cache until it is needed, so cache is claimed beside the least headroom, not on top of all.
    """
    reading = track.reading
    assert reading is not None, "only guests with a reading are movable"
    top = guest.top if track.adopted is None else min(guest.top, track.adopted)
    floor = min(guest.floor, top)
    base = base_headroom(guest)
    most = max(base, guest.most_headroom)
    least = min(max(base, round(habit.peak * GUEST_REACT_S)), most)
    headroom = min(max(least, round(habit.rate * RUN_S)), most)
    needed = reading.need
    if reading.available < base * NEAR_END:
        # It is at the end of its memory: how much more it needs cannot be told, only that it needs more.
        needed += base
    need = max(needed, floor)
    headroom = max(headroom, min(most, _learnt(track, needed, now)))
    with_headroom = max(needed + headroom, floor)
    cached = needed + least + reading.caches
    warm = max(with_headroom, cached - habit.cold + appetite(guest, reading, habit))
    cold = max(warm, cached)
    least = max(need, needed + round(base * KEPT))
    held = track.actual if now < track.cool_until else 0
    if guest.held:
        held = max(held, track.target)
    if cold > top or least > top:
        need, with_headroom, warm, cold, least = (
            min(size, top) for size in (need, with_headroom, warm, cold, least)
        )
    return Rungs(
        floor=floor,
        need=need,
        headroom=with_headroom,
        warm=warm,
        cold=cold,
        top=top,
        base=base,
        least=least,
        held=min(held, top),
    )


def _learnt(track: Track, needed: int, now: float) -> int:
    """Bytes above its need that a guest has fought for; forgotten slowly, as what it does changes."""
    if track.learnt <= needed:
        return 0
    left: float = 0.5 ** ((now - track.learnt_at) / LEARNT_HALF_S)
    return round((track.learnt - needed) * left)


def appetite(guest: Guest, reading: Reading, habit: Habit) -> int:
    """Bytes beyond its cache that a guest would fill: it reads from disk what it had to drop, and nothing lies free."""
    if habit.faulting < HUNGRY_RATE or reading.free is None:
        return 0
    is_full = reading.free <= max(base_headroom(guest), reading.actual // 16)
    return max(APPETITE_MIN, guest.max // APPETITE_PART) if is_full else 0


def base_headroom(guest: Guest) -> int:
    """The least headroom worth having, bytes: 24 MiB and 2 % of the guest's maximum."""
    return 24 * MIB + guest.max // 50
