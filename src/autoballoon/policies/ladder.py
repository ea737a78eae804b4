"""The ladder: each guest's memory is a ladder of claims, and one pool is handed out rung by rung.

    1 floor   2 need   3 headroom   4 the host's cushion   5 warm cache   6 what it needed lately   7 cold cache
    8 surplus, to the ceiling

Within a rung the pool is shared by weighted water-filling. What a guest gets is its wish. So what is taken first
is surplus, then cold cache, and need last; what is given first is need; and memory moves from one guest to
another even while the host's total stands still. What each claims is worked out in rungs.py, from what is learnt in
habits.py.
"""

from itertools import repeat
from operator import add, attrgetter, sub

from autoballoon.core.model import Reason
from autoballoon.core.policy import ASK_AHEAD_S, Sight, Watch, Wish, Wishes
from autoballoon.core.pool import charge_of, overhang_of, overhead_of
from autoballoon.core.share import water_fill
from autoballoon.core.track import Track
from autoballoon.policies import guest_swap
from autoballoon.policies.habits import Habit, Memory, learn, unread_s
from autoballoon.policies.rungs import Rungs, rungs_of

HOST_REACT_S = 0.7
"""From a grant to the memory of another guest being back: a round, a tick, an inflation (320 MiB took 0.4 s)."""
CUSHION_MIN, CUSHION_MAX = 0.03, 0.08
"""Bounds of the cushion, as parts of the pool: with 2 % at least the host swaps in `host-takes-8g-in-2s`; with 5 %
guests lose a fifth more of their time in `large-host` than with 3 %, for want of cache."""

UNSEEN_S = 8.0
"""A guest that was never seen to grow may yet begin to, and take its whole maximum in so long."""


class Ladder:
    """The policy of autoballoon."""

    name = "ladder"
    every_s = 0.0
    raw = False
    watch = Watch(ahead_s=ASK_AHEAD_S, wary=True)

    def start(self) -> Memory:
        """Nothing learnt yet."""
        return Memory(habits={})

    def wish(self, memory: Memory, sight: Sight, now: float) -> Wishes:
        """The pool handed out over all movable guests."""
        memory = learn(memory, sight, now)
        movable = sight.movable
        if not movable:
            return Wishes(memory=memory, wishes={}, cushion=self._cushion(memory, sight.account.pool))
        pool = _pool_of_movable(sight, now)
        cushion = self._cushion(memory, pool)
        tracks = [sight.tracks[guest.key] for guest in movable]
        habits = [memory.habits[guest.key] for guest in movable]
        rungs = list(map(rungs_of, movable, tracks, habits, repeat(now)))
        kept = cushion + sight.account.promised
        sizes, over = hand_out(rungs, [guest.shares for guest in movable], pool, kept)
        excess = over
        if over and sight.overload == "guest-swap":
            sizes, excess = guest_swap.take(movable, rungs, sizes, pool)
        wishes, edges, peaks = {}, {}, {}
        for guest, track, habit, rung, size in zip(movable, tracks, habits, rungs, sizes, strict=True):
            if size < rung.least and not over:
                # What others hold and would not give up may leave less than its need, and nobody pays for that (I8);
                # and taken to the last of its need it would seem to need more, and be given it, and so on for ever.
                size = max(size, min(rung.least, track.target))  # noqa: PLW2901
            wishes[guest.key] = _wish_of(track, habit, rung, size)
            # It is near its edge when half its headroom is used, be it in cache that it reads again and again.
            has = min(size, max(rung.headroom, min(rung.enough, track.target)))
            edges[guest.key] = max(rung.base // 2, has - rung.needed - rung.slack)
            peaks[guest.key] = max(habit.peak, guest.max / UNSEEN_S)
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
        return max(0, least, min(most, round((memory.joint or 0.0) * HOST_REACT_S)))


def _pool_of_movable(sight: Sight, now: float) -> int:
    """What the movable guests have for their sizes: the pool without what others are charged, every overhead, and what
    a balloon took and the host did not get back."""
    movable = sight.movable
    pool = sight.account.pool - sum(map(overhead_of, movable))
    if len(movable) < len(sight.snapshot.guests):
        held = {guest.key for guest in movable}
        pool -= sum(charge_of(g, sight.tracks[g.key]) for g in sight.snapshot.guests if g.key not in held)
    return pool - sum(overhang_of(guest, sight.tracks[guest.key], now) for guest in movable)


def _wish_of(track: Track, habit: Habit, rung: Rungs, size: int) -> Wish:
    """The wish for a guest that is to have `size` bytes."""
    caches = track.reading.caches if track.reading is not None else 0
    reason = _why(rung, track, size)
    numbers: dict[str, int | float] = {
        "need": rung.need,
        "headroom": rung.headroom - rung.need,
        "cache": caches,
    }
    if reason is Reason.TAKE_COLD_CACHE:
        numbers["unread_s"] = unread_s(habit, caches)
    need, urgent, used = rung.need, rung.headroom, rung.warm
    if size < used:
        need, urgent, used = min(size, need), min(size, urgent), size
    return Wish(
        size=size,
        need=need,
        urgent=urgent,
        used=used,
        least=rung.least if size >= rung.need else size,
        reason=reason,
        numbers=numbers,
    )


def _why(rung: Rungs, track: Track, size: int) -> Reason:
    if size < track.target:
        return rung.taken(size)
    return Reason.NEED if track.target < rung.headroom else Reason.GIVE_BACK


def hand_out(rungs: list[Rungs], shares: list[int], pool: int, kept: int) -> tuple[list[int], int]:
    """Sizes that sum to the pool less what is `kept`, as far as claims go; and by how much needs exceed the pool.

    `kept`: the cushion, and what is promised to guests to come.

    In an overload everyone keeps its need and a little more, and the host swaps as it would without us: this is
    `overload = "host-swap"`. The other choices start from it: policies/guest_swap.py, core/overload.py.
    """
    excess = sum(map(attrgetter("need"), rungs)) + sum(map(attrgetter("refused"), rungs)) - pool
    if excess > 0:
        return [max(rung.least, rung.held) for rung in rungs], excess
    names: tuple[str, ...] = ("need", "headroom", "warm", "lately", "cold", "top")
    if any(map(attrgetter("held"), rungs)):  # else all needs fit, and the floors are part of them
        names = ("held", "floor", *names)
    sizes, left = [0] * len(rungs), pool
    for name in names:
        if name == "warm":
            left -= kept
        if left <= 0:
            break  # nothing is left for the rungs above
        claims = list(map(sub, map(attrgetter(name), rungs), sizes))
        given = water_fill(left, claims, shares)
        sizes = list(map(add, sizes, given))
        left -= sum(given)
    return sizes, 0
