"""Observe: one guest's track brought up to date with what was just seen, and whether it may be moved."""

import msgspec

from autoballoon.core import guard
from autoballoon.core.model import Guest
from autoballoon.core.track import LAND_S, OK, SLACK, STALL_S, Health, Reading, Track
from autoballoon.core.units import MIB, PAGE

DRIVER_WAIT_S = 30.0
"""A driver that is not up when its guest has run for so long is taken to be missing (a boot to it takes 2 to 10 s under
TCG)."""
_NO_DRIVER_YET = (Health.BOOTING, Health.NO_DRIVER)
BOOT_GRACE_S = 10.0
"""A guest that has just booted is not shrunk for so long after its first reading: its driver is up before its programs
are, and what they will need stands in no statistics (services of a full userland start 1 to 10 s after the drivers).
The engine ends it where more is promised than there is: of guests that boot together the first get too much."""
SILENT_S = 5.0
"""Statistics this old are no ground for any move: five missed readings at the usual one a second."""
STEADY_S = 5.0
"""A size that has not changed for so long is not on its way anywhere (drivers retry every 200 ms)."""
GROWTH_MIN_S = 0.05
"""Readings closer than this say nothing about growth."""
SWAPPED_FADE_S = 30.0
"""What a guest swapped out and does not bring in again is half forgotten after this time: it was not needed."""
EXCHANGED_FADE_S = 10.0
"""What it swapped in for something else is half forgotten after this time."""
READ_S = 1e-4
"""A page that has to be read again is taken to cost so long a wait, as from an SSD: a wait for cache is no lack of
memory for what its programs hold."""
LACKS_MIN, LACKS_PART = 16 * MIB, 32
"""A guest that waits for memory, and has none free, has too little: what it fights for is more than it has by so many
bytes, or by this part of its maximum."""


def observe(track: Track | None, guest: Guest, now: float) -> Track:
    """The track after seeing `guest` at `now` (seconds, monotonic); `track` is None at first contact."""
    if track is None:
        track = _new_life(guest, now)
    elif began_anew(track, guest):
        track = _next_life(track, guest, now)
    elif guest.max != track.max:
        track = _plugged(track, guest.max, now)
    # Readings first: one that came together with a change of size belongs to neither size.
    reading = reading_of(track, guest, now)
    is_new = reading is not None and reading is not track.reading
    if guest.actual != track.actual:
        track = _moved(track, guest, now)
    below = 0
    asked = min(track.target, track.before) if track.ours else track.taken_from
    if asked is not None and track.fell_at > track.set_at and guest.actual < asked - SLACK:
        below = track.below + is_new
    health = health_of(guest, reading, now, track.since)
    if health is not OK or track.health is not health:
        track = _booted(track, guest, health, now)
    if guest.migrating or track.migrating:
        track = _migrating(track, now, is_so=guest.migrating)
    if is_new and reading is not None and (track.learnt or reading.waits):
        track = _learnt(track, guest, reading, now)
    # To be where it was already is no sign that an order has arrived: it may be lost, or carried out late.
    is_there = abs(guest.actual - track.target) <= SLACK
    arrived = is_there and (track.changed_at > track.set_at or now - track.set_at >= LAND_S)
    track = msgspec.structs.replace(
        track,
        up_s=guest.up_s or 0.0,
        pid=guest.pid,
        reading=reading,
        reached=track.reached or guest.actual <= track.target + SLACK,
        before=track.target if arrived else track.before,
        refuses=track.refuses and (track.reached or guest.actual > track.target + SLACK),
        below=below,
        health=health,
    )
    if track.taken_from is not None and guard.is_manual(guest, track, now):
        # Nothing is to be done about it: what we have never moved has its own size as its target.
        return msgspec.structs.replace(track, adopted=guest.actual, taken_from=None, below=0)
    return track


def _learnt(track: Track, guest: Guest, reading: Reading, now: float) -> Track:
    """The track with what a new reading tells of the size for which the guest fights."""
    if track.reading is not None and reading.taken_at - track.reading.taken_at > SILENT_S:
        # While it was silent or stood still nobody could tell what it did, so that nothing is forgotten.
        missed_s = reading.taken_at - track.reading.taken_at - SILENT_S
        track = msgspec.structs.replace(track, learnt_at=track.learnt_at + missed_s)
    if reading.waits:
        # It waited at the size that it had before, if it has been given more since.
        size = guest.actual if track.reading is None else min(track.reading.actual, guest.actual)
        if reading.is_full:  # one with memory free waits for what comes in, and has room for it
            size += max(LACKS_MIN, guest.max // LACKS_PART)
        track = msgspec.structs.replace(track, learnt=size, learnt_at=now, beyond=size)
    beyond = min(track.beyond, max(0, track.learnt - reading.need))
    return track if beyond == track.beyond else msgspec.structs.replace(track, beyond=beyond)


def _new_life(guest: Guest, now: float) -> Track:
    """The track of a guest of whom nothing is known yet."""
    up_s = guest.up_s or 0.0
    # Of one that is met while it stands still, nobody has seen for how much of that time it ran.
    boots_s = 0.0 if guest.driver is False and not guest.running else up_s
    return Track(
        target=guest.actual,
        before=guest.actual,
        actual=guest.actual,
        health=OK,
        since=now - boots_s,
        met_at=now,
        up_s=up_s,
        max=guest.max,
    )


def _next_life(track: Track, guest: Guest, now: float) -> Track:
    """The track of a guest that was reset or started again, with what outlasts that."""
    anew = msgspec.structs.replace(
        _new_life(guest, now), health=Health.BOOTING, changed_at=now, pause=track.pause
    )
    if None not in (track.pid, guest.pid) and track.pid != guest.pid:
        return anew  # another QEMU: what was asked of the old one, or set by hand, is gone with it
    return msgspec.structs.replace(
        anew,
        adopted=track.adopted,
        asked_before=min(track.target, track.before) if track.ours else track.asked_before,
        driverless=track.health in _NO_DRIVER_YET and track.ok_since < track.since,
        # One whose driver never went away may say so only to forget what it was asked for.
        cool_until=now + guard.STUCK_COOL_S if guest.driver and track.shrinking else anew.cool_until,
        spared_until=track.spared_until,
    )


def _plugged(track: Track, size: int, now: float) -> Track:
    """The track of a guest that has `size` bytes of RAM now: memory was plugged in or out, and what its balloon holds
    is the same."""
    by = track.plugged(size)
    return msgspec.structs.replace(
        track,
        max=size,
        target=track.target + by,
        before=track.before + by,
        actual=track.actual + by,
        begun=track.begun + by,
        taken_from=None if track.taken_from is None else track.taken_from + by,
        asked_before=None if track.asked_before is None else track.asked_before + by,
        changed_at=now,
        below=0,
    )


def _moved(track: Track, guest: Guest, now: float) -> Track:
    """The track of a guest whose size has changed since it was last seen."""
    fell = guest.actual < track.actual
    if not track.ours:
        taken_from = _taken_from(track, guest, now)
        track = msgspec.structs.replace(
            track, target=guest.actual, before=guest.actual, taken_from=taken_from
        )
    return msgspec.structs.replace(
        track,
        actual=guest.actual,
        changed_at=now,
        fell_at=now if fell else track.fell_at,
        rose_at=track.rose_at if fell else now,
    )


def _booted(track: Track, guest: Guest, health: Health, now: float) -> Track:
    """The track of a guest that boots, or was not OK until now or is not any more."""
    since = track.since
    if guest.driver is False and not guest.running and guest.up_s is not None:
        # Its driver is not waited for while it stands still.
        since = min(now, since + guest.up_s - track.up_s)
    boots = health is Health.BOOTING or (track.boots and health is not OK)
    return msgspec.structs.replace(
        track,
        since=since,
        boots=boots,
        driverless=track.driverless and health in _NO_DRIVER_YET,
        grace_until=now + BOOT_GRACE_S if track.boots and not boots else track.grace_until,
        ok_since=now if health is OK and track.health is not OK else track.ok_since,
    )


def _migrating(track: Track, now: float, *, is_so: bool) -> Track:
    """The track of a guest that is being migrated away, or was."""
    cool_until = max(track.cool_until, now + guard.MIGRATING_COOL_S) if is_so else track.cool_until
    return msgspec.structs.replace(track, migrating=is_so, cool_until=cool_until)


def _taken_from(track: Track, guest: Guest, now: float) -> int | None:
    """The size from which somebody else takes a guest that we have never moved: it stood still, and became smaller.

    What moves when it is first met is no such thing: a daemon before us may have begun it, or its driver just came up.
    Nor is what goes no further than that daemon asked.
    """
    if track.taken_from is not None:
        return track.taken_from if guest.actual < track.taken_from - SLACK else None
    if track.asked_before is not None and guest.actual >= track.asked_before - SLACK:
        return None
    stood = track.health is OK and now - max(track.changed_at, track.met_at, track.ok_since) >= STEADY_S
    return track.actual if stood and guest.actual < track.actual - SLACK else None


def began_anew(track: Track, guest: Guest) -> bool:
    """It was reset or started again: the driver is gone, or its uptime fell, whatever it was doing then."""
    if guest.driver is False and track.health in (OK, Health.SILENT):
        return True
    return guest.up_s is not None and guest.up_s < track.up_s - 1.0


def health_of(guest: Guest, reading: Reading | None, now: float, since: float) -> Health:
    """Whether the guest may be moved, and if not, why. Total: every guest has exactly one health."""
    if not guest.managed:
        return Health.UNMANAGED
    if guest.incoming:
        return Health.INCOMING
    if not guest.running:
        return Health.STOPPED
    # Without a word from QEMU (before 7.2) a young guest that has never answered is taken to be booting.
    if guest.driver is False or (guest.driver is None and guest.available is None and _is_young(guest)):
        return Health.BOOTING if now - since < DRIVER_WAIT_S else Health.NO_DRIVER
    if reading is None or guest.available is None or now - reading.taken_at > SILENT_S:
        return Health.SILENT
    return OK


def _is_young(guest: Guest) -> bool:
    return guest.up_s is not None and guest.up_s < DRIVER_WAIT_S


def reading_of(track: Track, guest: Guest, now: float) -> Reading | None:
    """The newest reading: the one that `guest` carries when it is newer than the track's."""
    last = track.reading
    if guest.available is None or guest.age_s is None:
        return None if guest.available is None else last
    taken_at = now - guest.age_s
    if last is not None and taken_at <= last.taken_at + GROWTH_MIN_S:
        return last
    available = min(guest.available, guest.actual)
    growth, faulting, stalled, swapped, exchanged = 0.0, 0.0, 0.0, 0, 0
    if last is None:
        swapped = min(
            guest.swap_used or 0, guest.max // 2
        )  # out before we looked; forgotten if it stays there
    else:
        elapsed = taken_at - last.taken_at
        went, swapped, exchanged = _swap_of(last, guest, min(elapsed, SILENT_S))
        if track.fell_at < last.taken_at:
            need = guest.actual - available + went
            grown = need - (last.actual - last.available)
            growth = max(-guest.max, min(grown, guest.max)) / elapsed  # a counter may tell any lie
        misses = _risen(last.major_faults, guest.major_faults)
        if misses and guest.swap_in != last.swap_in:  # what comes in from its swap is no cache
            misses = max(0, misses - _risen(last.swap_in, guest.swap_in) / PAGE)
        again = _risen(last.refaults, guest.refaults)
        faulting = max(misses, again) * PAGE / elapsed
        shrank = guest.actual < track.actual or track.fell_at >= last.taken_at
        stalled = _stalled(last, guest, elapsed, again, shrank=shrank)
    return Reading(  # with more than 15 names Python would make a dictionary of them for each call
        taken_at,
        guest.actual,
        available,
        caches=available if guest.caches is None or guest.caches > available else guest.caches,
        swap_in=guest.swap_in,
        swap_out=guest.swap_out,
        growth=growth,
        settled_since=track.fell_at,
        free=guest.free if guest.free is None else min(guest.free, guest.actual),
        major_faults=guest.major_faults,
        refaults=guest.refaults,
        faulting=faulting,
        psi_some_s=guest.psi_some_s,
        stalled=stalled,
        alloc_stalls=guest.alloc_stalls,
        oom_kills=guest.oom_kills,
        swapped=swapped,
        exchanged=exchanged,
    )


def _stalled(last: Reading, guest: Guest, elapsed: float, again: float, *, shrank: bool) -> float:
    """Reading.stalled, by what the guest has measured, or by how often somebody in it had to reclaim memory.

    While it shrinks that is the balloon's driver, most of all. Pages of cache that it had dropped and read `again` are
    told by that.
    """
    if _risen(last.oom_kills, guest.oom_kills):
        return 1.0
    if shrank:
        return 0.0
    if guest.psi_some_s is not None:
        waited_s = _risen(last.psi_some_s, guest.psi_some_s) - READ_S * again
    else:
        waited_s = STALL_S * _risen(last.alloc_stalls, guest.alloc_stalls)
    return min(1.0, max(0.0, waited_s) / elapsed)


def _swap_of(last: Reading, guest: Guest, fades_s: float) -> tuple[float, int, int]:
    """By how much what it has in swap of its own grew since the reading before; and Reading.swapped and exchanged, of
    which so much time is forgotten."""
    if guest.swap_out == last.swap_out and guest.swap_in == last.swap_in and not last.missed:
        return 0, 0, 0
    out, into = _risen(last.swap_out, guest.swap_out), _risen(last.swap_in, guest.swap_in)
    swapped = round(last.swapped * 0.5 ** (fades_s / SWAPPED_FADE_S) + out - into)
    exchanged = round(last.exchanged * 0.5 ** (fades_s / EXCHANGED_FADE_S) + min(out, into))
    return out - into, max(0, min(swapped, guest.max // 2)), min(exchanged, guest.max // 4)


def _risen(before: float | None, now: float | None) -> float:
    """How far a counter has risen; 0 where it is not told, or began anew."""
    return 0 if before is None or now is None or now <= before else now - before
