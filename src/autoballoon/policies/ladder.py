"""The ladder: each guest's memory is a ladder of claims, and one pool is handed out rung by rung.

    1 floor   2 need   3 headroom   4 the host's cushion   5 warm cache   6 cold cache   7 surplus, to the ceiling

Within a rung the pool is shared by weighted water-filling. What a guest gets is its wish. So what is taken first
is surplus, then cold cache, and need last; what is given first is need; and memory moves from one guest to
another even while the host's total stands still.
"""

from collections.abc import Mapping
from math import log2
from operator import add, attrgetter, sub

import msgspec

from autoballoon.core.model import Guest, Reason
from autoballoon.core.policy import Sight, Wish, Wishes
from autoballoon.core.pool import charge_of, overhead_of
from autoballoon.core.share import water_fill
from autoballoon.core.track import Reading, Track
from autoballoon.core.units import MIB
from autoballoon.policies import guest_swap

GUEST_REACT_S = 0.5
"""From a guest's first byte of growth to its grant: a statistics round (0.2 s) and the deflation."""
HOST_REACT_S = 0.7
"""From that to the memory of another guest being back: a round, a tick, an inflation (320 MiB took 0.4 s)."""
RUN_S = 0.7
"""A guest that is growing gets room for so long: fewer and larger moves."""
RATE_S = 0.5
"""Growth is measured over at least this time: sizes and statistics are not of quite the same moment."""
PEAK_HALF_S = 120.0
"""A growth once seen is expected again, half as fast after this time."""
WARM_S = 30.0
"""Cache read in within about this time is taken to be in use."""
NEAR_END = 1 / 2
"""With less than this part of its least headroom available, a guest is at the end of its memory ..."""
KEPT = 5 / 8
"""... so in an overload it keeps this part beyond its need: with less, its need would seem to rise and fall with it."""
FAULT_HALF_S = 10.0
HUNGRY_RATE = MIB
"""Bytes a second read from disk by major faults over FAULT_HALF_S: a guest that does so misses cache that it uses."""
APPETITE_MIN, APPETITE_PART = 64 * MIB, 8
"""What such a guest is given at a time beyond its cache, as long as it fills it: bytes, or a part of its maximum."""
LEARNT_HALF_S = 300.0
"""A size at which a guest fought is half forgotten after this time."""
CUSHION_MIN, CUSHION_MAX = 0.05, 0.08
"""Bounds of the cushion, as parts of the pool."""


class Habit(msgspec.Struct, frozen=True, gc=False):
    """What was learnt of one guest."""

    peak: float = 0.0
    """Its fastest recent growth over RATE_S, bytes a second."""
    rate: float = 0.0
    """How fast it grows now, bytes a second."""
    need: int = 0
    """What it needed at `since`, where its growth is measured from."""
    since: float = 0.0
    cold: int = 0
    """Cache that has been there for long, bytes: a slowly following low-water mark."""
    faulting: float = 0.0
    """Bytes a second that major faults read from disk, a slowly following mean."""
    taken_at: float = 0.0
    """The time of the reading that this was learnt from."""


class Memory(msgspec.Struct, frozen=True):
    """What was learnt of the guests and of the host."""

    habits: Mapping[str, Habit]
    joint: float = 0.0
    """The fastest recent growth of all guests and the host together, bytes a second."""
    other: int | None = None
    at: float = 0.0


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


class Ladder:
    """The policy of autoballoon."""

    name = "ladder"
    every_s = 0.0
    raw = False

    def start(self) -> Memory:
        """Nothing learnt yet."""
        return Memory(habits={})

    def wish(self, memory: Memory, sight: Sight, now: float) -> Wishes:
        """The pool handed out over all movable guests."""
        memory = learn(memory, sight, now)
        movable = sight.movable
        if not movable:
            return Wishes(memory=memory, wishes={}, cushion=self._cushion(memory, sight.account.pool))
        pool = sight.account.pool - sum(map(overhead_of, movable))
        if len(movable) < len(sight.snapshot.guests):
            held = {guest.key for guest in movable}
            pool -= sum(charge_of(g, sight.tracks[g.key]) for g in sight.snapshot.guests if g.key not in held)
        cushion = self._cushion(memory, pool)
        rungs = [rungs_of(guest, sight.tracks[guest.key], memory.habits[guest.key], now) for guest in movable]
        kept = cushion + sight.account.promised
        sizes, over = hand_out(rungs, [guest.shares for guest in movable], pool, kept)
        excess = over
        if over and sight.overload == "guest-swap":
            sizes, excess = guest_swap.take(movable, rungs, sizes, pool)
        wishes, edges, peaks = {}, {}, {}
        for guest, rung, size in zip(movable, rungs, sizes, strict=True):
            track = sight.tracks[guest.key]
            if not over:
                # What others hold and would not give up may leave less than its need, and nobody pays for that (I8).
                size = max(size, min(rung.need, track.target))  # noqa: PLW2901
            reason = _why(rung, track, size)
            numbers: dict[str, int | float] = {
                "need": rung.need,
                "headroom": rung.headroom - rung.need,
                "cache": _caches(track),
            }
            if reason is Reason.TAKE_COLD_CACHE:
                numbers["unread_s"] = unread_s(memory.habits[guest.key], _caches(track))
            wishes[guest.key] = Wish(
                size=size,
                need=min(size, rung.need),
                urgent=min(size, rung.headroom),
                used=min(size, rung.warm),
                least=rung.least if size >= rung.need else size,
                reason=reason,
                numbers=numbers,
            )
            edges[guest.key] = max(rung.base // 2, min(rung.headroom - rung.need, size - rung.need) // 2)
            peaks[guest.key] = memory.habits[guest.key].peak
        return Wishes(
            memory=memory,
            wishes=wishes,
            cushion=cushion,
            over=over,
            excess=excess,
            edges=edges,
            peaks=peaks,
        )

    def _cushion(self, memory: Memory, pool: int) -> int:
        least, most = round(pool * CUSHION_MIN), round(pool * CUSHION_MAX)
        return max(0, least, min(most, round(memory.joint * HOST_REACT_S)))


def _why(rung: Rungs, track: Track, size: int) -> Reason:
    if size < track.target:
        return rung.taken(size)
    return Reason.NEED if track.target < rung.headroom else Reason.GIVE_BACK


def _caches(track: Track) -> int:
    return track.reading.caches if track.reading is not None else 0


def unread_s(habit: Habit, caches: int) -> float:
    """Seconds for which its cache has been there and was not missed, as far as can be told: from how cold it is."""
    if habit.cold >= caches:
        return 10 * WARM_S if caches else 0.0
    return round(min(10 * WARM_S, WARM_S * log2(caches / (caches - habit.cold))), 1)


def hand_out(rungs: list[Rungs], shares: list[int], pool: int, kept: int) -> tuple[list[int], int]:
    """Sizes that sum to the pool less what is `kept`, as far as claims go; and by how much needs exceed the pool.

    `kept`: the cushion, and what is promised to guests to come.

    In an overload everyone keeps its need and a little more, and the host swaps as it would without us: this is
    `overload = "host-swap"`. The other choices start from it: policies/guest_swap.py, core/overload.py.
    """
    excess = sum(rung.need for rung in rungs) - pool
    if excess > 0:
        return [max(rung.least, rung.held) for rung in rungs], excess
    sizes, left = [0] * len(rungs), pool
    for name in ("held", "floor", "need", "headroom", "warm", "cold", "top"):
        if name == "warm":
            left -= kept
        if left <= 0:
            break  # nothing is left for the rungs above
        claims = list(map(sub, map(attrgetter(name), rungs), sizes))
        given = water_fill(left, claims, shares)
        sizes = list(map(add, sizes, given))
        left -= sum(given)
    return sizes, 0


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


def learn(memory: Memory, sight: Sight, now: float) -> Memory:
    """Memory after this snapshot: habits of the movable guests, and their joint growth with the host's own use."""
    habits = {}
    growth = 0.0
    for guest in sight.movable:
        reading = sight.tracks[guest.key].reading
        assert reading is not None
        habits[guest.key] = _learn_guest(memory.habits.get(guest.key), reading)
        if now - reading.taken_at < 1.5:
            growth += max(0.0, reading.growth)
    if now - memory.at < 1.0:
        return Memory(habits=habits, joint=max(memory.joint, growth), other=memory.other, at=memory.at)
    # What a guest that boots or has just been found takes is no growth of the host's own.
    settled = len(habits) == len(sight.snapshot.guests) == len(memory.habits)
    if memory.other is not None and settled:
        growth += max(0.0, (sight.account.other - memory.other) / (now - memory.at))
    faded = memory.joint * 0.5 ** ((now - memory.at) / PEAK_HALF_S)
    return Memory(
        habits=habits, joint=max(faded, growth), other=sight.account.other if settled else None, at=now
    )


def _learn_guest(habit: Habit | None, reading: Reading) -> Habit:
    if habit is None:
        return Habit(cold=0, taken_at=reading.taken_at, need=reading.need, since=reading.taken_at)
    elapsed = reading.taken_at - habit.taken_at
    if elapsed <= 0:
        return habit
    fade = 0.5 ** (elapsed / PEAK_HALF_S)
    faulting = reading.faulting + (habit.faulting - reading.faulting) * 0.5 ** (elapsed / FAULT_HALF_S)
    # Cache becomes cold with time, unless the guest misses more of it; cache that went away is not cold any more.
    aim = reading.caches if faulting < HUNGRY_RATE else 0
    cold = round(aim - (aim - habit.cold) * 0.5 ** (elapsed / WARM_S))
    peak, rate, need, since = habit.peak * fade, habit.rate, habit.need, habit.since
    if reading.taken_at - since >= RATE_S:
        rate = max(0.0, (reading.need - need) / (reading.taken_at - since))
        if reading.settled_since > since:
            rate = 0.0
        peak = max(peak, rate)
        need, since = reading.need, reading.taken_at
    return Habit(
        peak=peak,
        rate=rate,
        need=need,
        since=since,
        cold=min(cold, reading.caches),
        faulting=faulting,
        taken_at=reading.taken_at,
    )
