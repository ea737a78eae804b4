"""Habits: what the ladder learns of guests and of the host, from reading to reading.

How fast a guest grows says how much headroom it wants, whether its cache changes how much of it is warm, and what it
reads from disk again how much more of it would be.
"""

from collections.abc import Mapping
from math import log2

import msgspec

from autoballoon.core.policy import Sight
from autoballoon.core.track import Reading
from autoballoon.core.units import MIB

RATE_S = 0.5
"""Growth is measured over at least this time: sizes and statistics are not of quite the same moment."""
PEAK_HALF_S = 120.0
"""A growth once seen is expected again, half as fast after this time."""
WARM_S = 30.0
"""Cache read in within about this time is taken to be in use."""
FAULT_HALF_S = 10.0
HUNGRY_RATE = MIB
"""Bytes a second read from disk by major faults over FAULT_HALF_S: a guest that does so misses cache that it uses."""


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


def unread_s(habit: Habit, caches: int) -> float:
    """Seconds for which its cache has been there and was not missed, as far as can be told: from how cold it is."""
    if habit.cold >= caches:
        return 10 * WARM_S if caches else 0.0
    return round(min(10 * WARM_S, WARM_S * log2(caches / (caches - habit.cold))), 1)


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
