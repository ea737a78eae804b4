"""Who takes part in load control: what each guest that may be stopped needs, and what it has had so far."""

from collections.abc import Mapping

import msgspec

from autoballoon.core.model import Guest
from autoballoon.core.pause import is_deaf, is_late
from autoballoon.core.policy import Sight, Wishes
from autoballoon.core.pool import charge_of, overhead_of
from autoballoon.core.swap import SwapSpeed, turn_s
from autoballoon.core.track import Health, Pause, Track

SETTLE_S = 10.0
"""So long a guest that runs again may take to send statistics; until then it is taken to need what it did."""
NEW_S = 60.0
"""For so long what a guest has in swap of its own is no ground to stop anybody: it may have lain there for months, and
we have just come."""
AHEAD_TURNS = 2
"""By so many of its own turns at most a guest counts as ahead: one that ran in gaps does not pay for it for hours."""
STOPPABLE = (Health.OK, Health.SILENT, Health.NO_DRIVER)
"""A silent guest may be stopped too, or silence would be a way to be spared."""


class Run(msgspec.Struct, frozen=True):
    """What one guest that may be stopped has had."""

    since: float
    """When it last began to run."""
    need: int
    """What it needed when that was last known, bytes."""
    ran: float = 0.0
    """Seconds that it has run for each 1000 shares, more than the one that ran least."""
    was_stopped: bool = False
    """It has been stopped and let run again: its turn has to pay for that."""
    moved: int = 0
    """What had to make way for others while it was stopped, bytes; 0 when its turn has paid for that."""


class Contender(msgspec.Struct, frozen=True):
    """A guest that may be stopped, at this step."""

    guest: Guest
    track: Track
    run: Run
    need: int
    """Bytes that it needs beside QEMU's overhead."""
    turn_s: float
    """How long its turn is at least."""
    place: int
    """In the snapshot."""

    @property
    def key(self) -> str:
        return self.guest.key

    def has_had_its_turn(self, now: float) -> bool:
        """It has run for long enough since it last began to."""
        return now - self.run.since >= self.turn_s

    def is_ahead_of(self, other: "Contender") -> bool:
        """By half a turn at least, in running time per share.

        Then each of two that take turns runs for a whole one; with less, whoever was stopped would be back at once.
        """
        return self.run.ran - other.run.ran >= self.turn_s / 2 * 1000 / max(1, self.guest.shares)

    @property
    def pause(self) -> Pause:
        """Of one that is stopped."""
        assert self.track.pause is not None
        return self.track.pause


class Contest(msgspec.Struct, frozen=True):
    """Everybody at one step."""

    running: tuple[Contender, ...]
    """Those that run, or have been told to."""
    waiting: tuple[Contender, ...]
    """Those that are stopped, or have been told to; the one that ran least first."""
    deaf: tuple[Contender, ...]
    """Those that have long been told to run and do not: what they hold can go to the swap as that of those who wait."""
    orphans: tuple[Guest, ...]
    """Stopped by us, or told to be, and not to be any more."""
    room: int
    """Bytes of the pool for those that take part: without the others, and without every QEMU's overhead."""

    unsure: int = 0
    """What those that run have in swap of their own, and may not need: they were met just now."""

    @property
    def used(self) -> int:
        """What those that run need, bytes."""
        return sum(one.need for one in self.running)


def enlist(runs: Mapping[str, Run], speed: SwapSpeed, sight: Sight, wishes: Wishes, now: float) -> Contest:
    """Who takes part, who does not, and what room that leaves."""
    found: list[tuple[Guest, Track, int, int]] = []
    orphans: list[Guest] = []
    room = sight.account.pool
    for place, guest in enumerate(sight.snapshot.guests):
        track = sight.tracks[guest.key]
        if _is_orphan(guest, track, now):
            orphans.append(guest)
            room -= charge_of(guest, track)
            continue
        need = _need_of(guest, track, runs.get(guest.key), wishes, now)
        if _takes_part(guest, track, now):
            room -= overhead_of(guest)
            found.append((guest, track, need, place))
        else:
            room -= overhead_of(guest) + need
    too_much = max(0, sum(need for _, _, need, _ in found) - room)
    running: list[Contender] = []
    waiting: list[Contender] = []
    deaf: list[Contender] = []
    for guest, track, need, place in found:
        run = runs.get(guest.key) or Run(since=track.since, need=need)
        waits = track.pause is not None and track.pause.resumed_at is None
        # Only what is too much for the pool has to go to the swap, and of one guest no more than it needs.
        moved = max(min(need, too_much), run.moved)
        if waits:
            run = msgspec.structs.replace(run, moved=moved)
        one = Contender(guest, track, run, need, turn_s(speed, moved), place)
        if track.pause is not None and is_deaf(track.pause, guest, now):
            deaf.append(one)
        else:
            (waiting if waits else running).append(one)
    waiting.sort(key=lambda one: (one.run.ran, one.place))
    unsure = sum(_in_swap(one.track) for one in running if now - one.track.met_at < NEW_S)
    return Contest(tuple(running), tuple(waiting), tuple(deaf), tuple(orphans), room, unsure)


def _in_swap(track: Track) -> int:
    return 0 if track.reading is None else track.reading.missed


def _is_orphan(guest: Guest, track: Track, now: float) -> bool:
    if track.pause is None:
        return False
    return track.pause.is_orphan or is_late(track, guest, now) or not _may_be_stopped(guest)


def _may_be_stopped(guest: Guest) -> bool:
    return guest.may_suspend and guest.managed and not guest.held


def _takes_part(guest: Guest, track: Track, now: float) -> bool:
    if track.pause is not None:
        return True
    return (
        _may_be_stopped(guest)
        and not guest.migrating
        and guest.pid is not None
        and track.health in STOPPABLE
        and now >= track.spared_until
    )


def _need_of(guest: Guest, track: Track, run: Run | None, wishes: Wishes, now: float) -> int:
    """Bytes beside QEMU's overhead: as wished, as remembered, or, where nothing is known, all that is promised.

    With the little beyond its need that an overload leaves it: guests that fit to the last page would not seem to.
    What one has that refuses to give counts as needed.
    """
    if track.pause is not None:
        return track.pause.need
    wish = wishes.wishes.get(guest.key)
    if track.health is Health.OK and wish is not None:
        need = max(wish.need, wish.least)
        return max(need, track.actual) if track.refuses else need
    if run is not None and track.health is Health.SILENT and now - run.since < SETTLE_S:
        return run.need
    return charge_of(guest, track) - overhead_of(guest)


def counted(
    contest: Contest,
    runs: Mapping[str, Run],
    begun: frozenset[str],
    moved: Mapping[str, int],
    elapsed: float,
    now: float,
) -> dict[str, Run]:
    """What everybody has had, `elapsed` seconds later; `begun`: who begins to run now; `moved`: who is stopped now, and
    what has to make way for that: who waits may need less by the next step, and that has been paid for all the same.

    Of guests that take no part at this step nothing is forgotten.
    """
    ran = {one.key: one.run.ran for one in contest.waiting}
    ran |= {one.key: one.run.ran + elapsed * 1000 / max(1, one.guest.shares) for one in contest.running}
    least = min(ran.values(), default=0.0)
    ran |= {one.key: max(least, one.run.ran) for one in contest.deaf}  # the others are not behind for it
    after = dict(runs)
    owing = {one.key for one in (*contest.waiting, *contest.deaf)}
    owing |= {one.key for one in contest.running if not one.has_had_its_turn(now)}
    for one in (*contest.waiting, *contest.running, *contest.deaf):
        after[one.key] = Run(
            since=now if one.key in begun else one.run.since,
            need=one.need,
            ran=min(ran[one.key] - least, AHEAD_TURNS * one.turn_s * 1000 / max(1, one.guest.shares)),
            was_stopped=one.run.was_stopped or one.track.pause is not None,
            moved=moved.get(one.key, one.run.moved if one.key in owing else 0),
        )
    return after
