"""The guard: the last word on every move.

Invariants held here (the numbers are those of ARCHITECTURE.md):
I1 bounds and page alignment; I3 no shrink without a reading taken after the last move; I5 one outstanding
shrink, and a stuck guest's target goes back to its size; I6 what others set is respected. I2 (the sum of
charges) is held by granting.py, which hands out only what is free.
"""

from autoballoon.core.model import Guest, Reason
from autoballoon.core.track import OK, RESIDENT_SLACK, Track
from autoballoon.core.units import MIB, page_ceil, page_floor

FRESH_S = 0.5
"""A reading older than this is renewed before a shrink, where that is possible ..."""
FRESH_WAIT_S = 1.0
"""... within this time; then the newest one has to do, as long as it was taken after the last move."""
STUCK_S = 3.0
"""A shrink that has not moved for so long is not going to (Linux retries every 200 ms)."""
LEAST_RATE = 4 * MIB
"""Bytes a second: who gives up less is as good as stuck, on purpose perhaps (a driver gave up 800 MiB/s, measured)."""
STILL_S = 1.0
"""A size that somebody else set is adopted when it has stood for so long: on its way there it is none."""
BELOW_S = 10.0
"""So long a guest that became smaller than asked is left as it is, for it may be seen why."""
STUCK_COOL_S = 30.0
FULL_COOL_S = 5.0
DEFLATED_COOL_S = 2.0
"""So long that a tick passes in it: what a guest took it needs just now."""
RISING_S = 0.15
"""A guest that takes memory back is followed when its size has stood for so long: a target set amid that would have its
driver give back what it takes next."""
MIGRATING_COOL_S = 5.0
"""A guest that was being migrated a moment ago, and stayed, is not shrunk again at once: another attempt may follow."""


def bounds(guest: Guest, track: Track) -> tuple[int, int]:
    """I1: the smallest and largest size that may be asked for, page-aligned; floor wins over a smaller ceiling.

    A floor above the guest's own maximum is the maximum.
    """
    low = min(page_ceil(guest.floor), page_floor(guest.max))
    top = guest.top if track.adopted is None else min(guest.top, track.adopted)
    return low, max(low, page_floor(top))


def within(guest: Guest, track: Track, size: int) -> int:
    """I1: `size` on a whole page and between the guest's bounds."""
    whole = page_floor(size)
    if guest.floor <= whole <= guest.top and (track.adopted is None or whole <= track.adopted):
        return whole  # nearly always: then the bounds need not be brought onto pages
    low, high = bounds(guest, track)
    return min(max(whole, low), high)


def must_follow(guest: Guest, track: Track, now: float) -> Reason | None:
    """I5, I6, and a migration: why the target has to follow the actual size, if it has to."""
    if not track.ours or track.health is not OK:
        return None
    if track.shrinking:
        if track.migrating:
            return Reason.MIGRATING
        if track.reached or track.rose_at > track.set_at:
            return Reason.DEFLATED
        asked_s = now - max(track.set_at, track.ok_since)
        crawls = asked_s > STUCK_S and track.begun - track.actual < LEAST_RATE * asked_s
        if crawls or now - max(track.moved_at, track.ok_since) > STUCK_S:
            return Reason.STUCK
    elif is_manual(guest, track, now):
        return Reason.MANUAL
    return None


def cool_down(guest: Guest, track: Track, reason: Reason) -> float:
    """Seconds for which a guest that was followed for `reason` is not shrunk again.

    One that would not give up what it has free has a driver that does not work; one that had nothing to give has only
    to be waited for.
    """
    if reason is Reason.DEFLATED:
        return DEFLATED_COOL_S
    if reason is Reason.MIGRATING:
        return MIGRATING_COOL_S
    if reason is not Reason.STUCK:
        return 0.0
    return refusal_s(track, guest.actual - track.target)


def refusal_s(track: Track, asked: int) -> float:
    """Seconds for which a guest is left alone that did not give the `asked` bytes: long, if it had them to give."""
    reading = track.reading
    if reading is None:
        return STUCK_COOL_S
    has_just_freed = reading.growth < -asked / 2
    return STUCK_COOL_S if reading.available >= asked and not has_just_freed else FULL_COOL_S


def is_manual(guest: Guest, track: Track, now: float) -> bool:
    """I6: somebody else made it smaller, it stands there, and the host sees that too: one that holds more lies."""
    if track.below < 2 or now - track.changed_at < STILL_S:
        return False
    return guest.resident is None or guest.resident <= guest.actual + RESIDENT_SLACK


def is_unexplained(track: Track, now: float) -> bool:
    """It has just become smaller than we asked for: somebody else may have set that."""
    return (track.below > 0 or track.taken_from is not None) and now - track.changed_at < BELOW_S


def awaits_reading(track: Track, now: float) -> bool:
    """A shrink is wanted, and its newest reading does not do for it yet."""
    asked = track.asked_since
    return asked is not None and (now - asked < FRESH_WAIT_S or not track.fresh())


def bars_shrink(track: Track, now: float) -> Reason | None:
    """I3, I5: why this guest may not be shrunk now, if it may not."""
    if now < track.cool_until:
        return Reason.MIGRATING if track.migrating else Reason.COOL_DOWN
    if now < track.grace_until:
        return Reason.BOOTING
    if track.shrinking or track.growing(now):
        return Reason.WAIT_MOVE
    if not track.fresh():
        return Reason.WAIT_READING
    assert track.reading is not None
    stale = now - track.reading.taken_at > FRESH_S
    if stale and (track.asked_since is None or now - track.asked_since < FRESH_WAIT_S):
        return Reason.WAIT_READING
    return None
