"""Habits: what the ladder learns of guests and of the host, from reading to reading.

How fast a guest grows says how much headroom it wants, whether its cache changes how much of it is warm, and what it
reads from disk again how much more of it would be.
"""

from collections.abc import Mapping
from math import log2

import msgspec

from autoballoon.core.health import SILENT_S
from autoballoon.core.model import Guest
from autoballoon.core.policy import Sight
from autoballoon.core.track import Health, Reading, Track, resident_of
from autoballoon.core.units import MIB

RATE_S = 0.5
"""Growth is measured over at least this time: sizes and statistics are not of quite the same moment."""
PEAK_HALF_S = 120.0
"""A growth once seen is expected again, half as fast after this time."""
WARM_S = 30.0
"""Cache read in within about this time is taken to be in use."""
LATELY_HALF_S = 300.0
"""What a guest once needed above what it needs now is half forgotten after this time."""
PROVEN_HALF_S, PROVEN_AGAIN, PROVEN_MOST = 300.0, 2, 4
"""Cache that a guest was seen to read again when it lacked it is half forgotten after this time: longer by that factor
each time that it was tried in vain to do with less, up to so many times, or that would be tried for ever."""
FAULT_HALF_S = 5.0
"""How much a guest reads from disk is taken over about this time."""
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
    high: int = 0
    """What it needed at most, bytes ..."""
    high_at: float = 0.0
    """... when it last needed about as much ..."""
    lately: int = 0
    """... and what is left of that: what it was more than what the guest needs now is forgotten slowly."""
    proven: int = 0
    """Cache that it is known to read again when it lacks it, bytes ..."""
    hungry_at: float = -1e9
    """... when it was last seen to lack it ..."""
    tries: int = 0
    """... and how often it has lacked it anew, since it last had room for it and did not read it."""
    faulting: float = 0.0
    """Bytes a second that major faults read from disk: at first as it is, then a slowly following mean."""
    met_at: float = 0.0
    """The time of its first reading."""
    taken_at: float = 0.0
    """The time of the reading that this was learnt from."""
    life: float = 0.0
    """When the life of the guest began to be seen that this was learnt in."""


class Memory(msgspec.Struct, frozen=True):
    """What was learnt of the guests and of the host."""

    habits: Mapping[str, Habit]
    joint: float | None = None
    """The fastest recent growth of all guests and the host together, bytes a second."""
    other: int | None = None
    """What the host itself and guests that are left alone used at `at`; None where that was not to be told from what
    others took."""
    guests: tuple[int, int] = (0, 0)
    """How many guests there were then, and how many of them were left alone."""
    at: float = 0.0


def unread_s(habit: Habit, caches: int) -> float:
    """Seconds for which its cache has been there and was not missed, as far as can be told: from how cold it is."""
    known_s = habit.taken_at - habit.met_at
    if habit.cold < caches:
        known_s = min(known_s, WARM_S * log2(caches / (caches - habit.cold)))
    return round(min(10 * WARM_S, known_s), 1) if caches else 0.0


def learn(memory: Memory, sight: Sight, now: float) -> Memory:
    """Memory after this snapshot: habits of the guests, and their joint growth with what the host and guests that are
    left alone use.

    Of those that are not movable now (silent, stopped) nothing is learnt, and nothing forgotten: they come back.
    """
    joint = memory.joint or 0.0
    growth = 0.0
    lives = {key: track.met_at for key, track in sight.tracks.items()}
    habits = {key: habit for key, habit in memory.habits.items() if lives.get(key) == habit.life}
    for guest in sight.movable:
        track = sight.tracks[guest.key]
        reading = track.reading
        assert reading is not None
        habit = habits.get(guest.key)
        habits[guest.key] = _learn_guest(habit, reading, base_headroom(guest), track.met_at)
        if reading.growth > 0.0 and now - reading.taken_at < 1.5:
            growth += reading.growth
    if memory.joint is not None and now - memory.at < 1.0:
        return msgspec.structs.replace(memory, habits=habits, joint=max(joint, growth))
    tracks = sight.tracks.values()
    alone = [guest for guest in sight.snapshot.guests if sight.tracks[guest.key].health is Health.UNMANAGED]
    other = sight.account.other + sum(map(resident_of, alone))
    guests = len(tracks), len(alone)
    # What a guest takes that boots or is new here is no growth of the host's own, nor what one leaves that goes.
    settled = guests == memory.guests and all(_is_settled(track, memory.at) for track in tracks)
    if memory.other is not None and settled:
        growth += max(0.0, (other - memory.other) / (now - memory.at))
    since_s = 0.0 if memory.joint is None else now - memory.at
    faded = joint * 0.5 ** (since_s / PEAK_HALF_S)
    return Memory(
        habits=habits,
        joint=max(faded, growth),
        other=other if settled else None,
        guests=guests,
        at=now,
    )


def _is_settled(track: Track, since: float) -> bool:
    """It has been there since then, and is not on its way up."""
    return track.met_at <= since and (not track.boots or track.health is Health.NO_DRIVER)


def misses_cache(faulting: float, reading: Reading) -> bool:
    """Whether a guest that reads so many bytes a second from disk by faults misses cache that it uses."""
    return faulting >= HUNGRY_RATE or reading.waits


def base_headroom(guest: Guest) -> int:
    """The least headroom worth having, bytes: 24 MiB and 2 % of the guest's maximum."""
    return 24 * MIB + guest.max // 50


def _learn_guest(habit: Habit | None, reading: Reading, base: int, life: float) -> Habit:
    now, needed = reading.taken_at, reading.need
    if habit is None:
        return Habit(
            met_at=now,
            taken_at=now,
            need=needed,
            since=now,
            high=needed,
            high_at=now,
            lately=needed,
            cold=reading.caches,
            life=life,
        )
    habit = _back(habit, now)
    elapsed = now - habit.taken_at
    if elapsed <= 0:
        return habit
    faulting = reading.faulting
    if habit.faulting:
        faulting += (habit.faulting - faulting) * 0.5 ** (elapsed / FAULT_HALF_S)
    is_hungry = misses_cache(faulting, reading)
    # Cache becomes cold with time, unless the guest misses more of it; cache that went away is not cold any more.
    aim = 0 if is_hungry else reading.caches
    cold = round(aim - (aim - habit.cold) * 0.5 ** (elapsed / WARM_S))
    # What it misses it will want again; what it has room for and does not read it wants no more.
    proven, hungry_at, tries = habit.proven, habit.hungry_at, habit.tries
    if proven or is_hungry:
        is_full = reading.free is not None and reading.is_full
        # Of what it holds nobody can tell whether it is read; of what it does not, and has room for, that it is not.
        leaves = not (is_full or is_hungry) and reading.caches < proven
        half_s = WARM_S if leaves else PROVEN_HALF_S * PROVEN_AGAIN**tries
        proven = round(proven * 0.5 ** (elapsed / half_s))
        if is_full and is_hungry:
            if 0 < proven < reading.caches and now - hungry_at > WARM_S:
                tries = min(tries + 1, PROVEN_MOST)  # it was forgotten too soon
            proven, hungry_at = max(proven, reading.caches), now
        elif leaves:
            tries = 0
    high, high_at, lately = _lately(habit, needed, base, now)
    peak, rate, need, since = habit.peak * 0.5 ** (elapsed / PEAK_HALF_S), habit.rate, habit.need, habit.since
    if now - since >= RATE_S:
        rate = 0.0
        if needed > need and reading.settled_since <= since:
            rate = (needed - need) / (now - since)
            peak = max(peak, rate)
        need, since = needed, now
    return Habit(
        peak=peak,
        rate=rate,
        need=need,
        since=since,
        cold=min(cold, reading.caches),
        high=high,
        high_at=high_at,
        lately=lately,
        proven=proven,
        hungry_at=hungry_at,
        tries=tries,
        faulting=faulting,
        met_at=habit.met_at,
        taken_at=now,
        life=life,
    )


def _back(habit: Habit, now: float) -> Habit:
    """What was learnt of a guest that may have been silent or stood still: what it did then nobody can tell, so that
    nothing is forgotten. How far it grew can be told, and over what time."""
    missed_s = now - habit.taken_at - SILENT_S
    if missed_s <= 0:
        return habit
    return msgspec.structs.replace(
        habit,
        high_at=habit.high_at + missed_s,
        hungry_at=habit.hungry_at + missed_s,
        met_at=habit.met_at + missed_s,
        taken_at=habit.taken_at + missed_s,
    )


def _lately(habit: Habit, needed: int, base: int, now: float) -> tuple[int, float, int]:
    """What it needed at most, when it last needed about as much, and what is left of that."""
    if needed >= habit.high:
        return needed, now, needed
    lately = round(needed + (habit.high - needed) * 0.5 ** ((now - habit.high_at) / LATELY_HALF_S))
    if needed >= lately - base // 4:
        return lately, now, lately
    return habit.high, habit.high_at, lately
