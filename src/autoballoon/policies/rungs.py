"""Rungs: one guest's claims on memory, each a size that includes those below it."""

import msgspec

from autoballoon.core.model import Guest, Reason
from autoballoon.core.track import Reading, Track
from autoballoon.core.units import MIB
from autoballoon.policies.habits import Habit, base_headroom, misses_cache

GUEST_REACT_S = 0.5
"""From a guest's first byte of growth to its grant: a statistics round (0.2 s) and the deflation."""
RUN_S = 0.7
"""A guest that is growing gets room for so long: fewer and larger moves."""
NEAR_END = 1 / 2
"""With less than this part of its least headroom available, a guest is at the end of its memory ..."""
KEPT = 5 / 8
"""... so in an overload it keeps this part beyond its need: with less, its need would seem to rise and fall with it."""
APPETITE_S = 5.0
"""A guest that reads again what it dropped is given what it reads in this time beyond its cache ..."""
APPETITE_MIN, APPETITE_PART = 16 * MIB, 8
"""... at least so many bytes, and at most this part of its maximum, as long as it fills it."""
UNTOLD_PART = 16
"""A guest that does not tell of its cache is taken to use so much of it: this part of its maximum."""
LEARNT_HALF_S = 300.0
"""A size at which a guest fought is half forgotten after this time."""


class Rungs(msgspec.Struct, frozen=True, gc=False):
    """One guest's claims, each the size it would have when that rung is full."""

    floor: int
    """As far as it has that much."""
    need: int
    headroom: int
    warm: int
    lately: int
    cold: int
    top: int
    least: int
    """The smallest size at which what it needs can be told."""
    needed: int
    """What it needs, be it below its floor; never above its ceiling."""
    enough: int
    """With this size it lacks neither its least headroom nor cache that it uses."""
    slack: int
    """So much of that may be gone before it is near its edge, bytes."""
    base: int
    """The least headroom worth having, bytes."""
    held: int = 0
    """What it has and would not give up when it was asked, or is not to: that is promised to no other (I5)."""
    refused: int = 0
    """What it has beyond its need and refuses to give: no other can have it, so it counts as needed in an overload."""
    swapped: int = 0
    """What of its need it has put into swap of its own already."""

    def taken(self, size: int) -> Reason:
        """What a guest loses that is left with `size`."""
        if size >= self.cold:
            return Reason.TAKE_SURPLUS
        if size >= self.lately:
            return Reason.TAKE_COLD_CACHE
        if size >= self.warm:
            return Reason.TAKE_LATELY
        if size >= self.headroom:
            return Reason.TAKE_WARM_CACHE
        return Reason.TAKE_HEADROOM if size >= self.needed else Reason.TAKE_NEED


def rungs_of(guest: Guest, track: Track, habit: Habit, now: float) -> Rungs:
    """The ladder of one guest; each rung includes those below it.

    Headroom may hold cache until it is needed, so cache is claimed beside the least headroom, not on top of all.
    """
    reading = track.reading
    assert reading is not None, "only guests with a reading are movable"
    top = guest.top
    if track.adopted is not None:  # the operator's floor goes before a size set by hand, as in guard.bounds
        top = max(min(top, track.adopted), min(guest.floor, guest.max))
    floor = min(guest.floor, top)
    base, needed = base_headroom(guest), reading.need
    least, headroom = _headroom(guest, habit, base, needed)
    if reading.available < base * NEAR_END:
        # It is at the end of its memory: how much more it needs cannot be told, only that it needs more; but what it
        # has just put into swap of its own is counted already.
        needed += max(0, base - reading.missed)
    if track.beyond and track.learnt > needed:
        headroom = max(headroom, min(_bound(guest, base), _learnt(track, needed, now)))
    need, with_headroom = needed, needed + headroom
    if need < floor:
        # A floor that it never had is given as headroom is: nobody lacks anything where floors exceed the pool.
        with_headroom = max(with_headroom, floor)
        floor = min(floor, max(track.target, track.actual))
        need = max(need, floor)
    used = _used_cache(guest, reading, habit)
    enough = needed + least + used
    warm = max(with_headroom, enough)
    lately = max(warm, habit.lately + base + used)
    cold = max(lately, needed + least + reading.caches)
    kept = max(need, needed + int(base * KEPT))
    held = track.actual if now < track.cool_until or now < track.grace_until else 0
    if guest.held:
        held = max(held, track.target)
    if cold > top:
        needed, need, with_headroom, warm, lately, cold, kept = (
            min(size, top) for size in (needed, need, with_headroom, warm, lately, cold, kept)
        )
    return Rungs(
        floor=floor,
        need=need,
        headroom=with_headroom,
        warm=warm,
        lately=lately,
        cold=cold,
        top=top,
        least=kept,
        needed=needed,
        enough=enough,
        slack=headroom // 2,
        base=base,
        held=min(held, top) if held else 0,
        refused=max(0, track.actual - need) if track.refuses else 0,
        swapped=reading.swapped,
    )


def _headroom(guest: Guest, habit: Habit, base: int, needed: int) -> tuple[int, int]:
    """The least headroom, beside which cache is claimed, and what it wants to grow into now; bytes."""
    peak, run = int(habit.peak * GUEST_REACT_S), int(habit.rate * RUN_S)
    if peak <= base and run <= base:
        return base, base  # nearly always
    # It grows as far as it did before, rather than beyond: what goes beyond is followed, reading by reading.
    most = min(_bound(guest, base), base + max(0, habit.lately - needed))
    return max(base, min(peak, most)), max(base, min(run, most))


def _used_cache(guest: Guest, reading: Reading, habit: Habit) -> int:
    """Bytes of cache that it reads, or would if it had them."""
    in_use = reading.caches - habit.cold
    if guest.caches is None:
        # What it has available is known, and not what of that is cache: what it has just freed is none.
        in_use = min(reading.caches, guest.max // UNTOLD_PART)
    used = max(in_use, habit.proven)
    if misses_cache(habit.faulting, reading) and reading.free is not None and reading.is_full:
        used += _appetite(guest, habit)
    return used


def _bound(guest: Guest, base: int) -> int:
    """The most headroom that it is given, bytes."""
    return max(base, guest.most_headroom)


def _learnt(track: Track, needed: int, now: float) -> int:
    """Bytes above its need that a guest has fought for; forgotten slowly, as what it does changes."""
    left: float = 0.5 ** ((now - track.learnt_at) / LEARNT_HALF_S)
    return round(min(track.beyond, track.learnt - needed) * left)


def _appetite(guest: Guest, habit: Habit) -> int:
    """Bytes beyond its cache that a guest would fill that reads from disk what it had to drop."""
    return min(max(APPETITE_MIN, round(habit.faulting * APPETITE_S)), guest.max // APPETITE_PART)
