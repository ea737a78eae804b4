"""Load control: when needs exceed the pool, guests that may be stopped take turns, so that those that run fit.

Stopping frees nothing. What it buys is that the guest grows no more, and that its pages can go to the host's swap
once, instead of everybody's going there and back all the time. Before it is stopped a guest is squeezed to its need.

Always: only guests that opted in are stopped; at least one of those runs; nobody is stopped before its turn has
paid for the change; whoever is behind in running time per share goes first, and nobody overtakes the first in line;
and a guest runs again when there is room for it. (Load control: Denning 1968; turns by virtual time: Demers,
Keshav and Shenker 1989.)
"""

from collections.abc import Mapping, Sequence

import msgspec

from autoballoon.core import pace
from autoballoon.core.contest import STOPPABLE, Contender, Contest, Run, counted, enlist
from autoballoon.core.model import Guest, Reason, Resume, Stay, Suspend
from autoballoon.core.pause import is_due, resume
from autoballoon.core.policy import Sight, Wish, Wishes
from autoballoon.core.swap import SwapSpeed, changed, measured
from autoballoon.core.track import Pause, Track

CHOICES: Mapping[str, str] = {
    "host-swap": "nobody is set below its need, and the host swaps as it would without autoballoon",
    "guest-swap": "guests known to have free swap of their own give up need, down to their fair share",
    "suspend": "guests with may_suspend = true are stopped in turn, so that those that run fit",
}
"""What may be done when needs exceed the pool: the values of `[host] overload`."""
ENTER_S = 10.0
"""Needs have to exceed the pool for so long before anybody is stopped: a burst that passes costs less than a stop."""
ROOM_S = 5.0
"""There has to be room for so long before a guest runs again out of its turn."""
LEAVE_S = 60.0
"""All have to run and fit for so long before their running times are forgotten; and each has to have had its turn."""
SQUEEZE_S = 5.0
"""A guest that has not given up what it does not need by then is stopped as it is (inflating 320 MiB took 0.4 s)."""


class Load(msgspec.Struct, frozen=True):
    """Load control's own state, from step to step."""

    speed: SwapSpeed = SwapSpeed()
    owed: Mapping[str, int] = {}
    """Guests out of sight that we stopped, by key: their QEMU process."""
    runs: Mapping[str, Run] = {}
    is_on: bool = False
    """Turns are counted: somebody was stopped, and all have not fitted for long enough since."""
    over_since: float | None = None
    """The needs of those that run have exceeded the pool since then."""
    fits_since: float | None = None
    """All run, and fit with the cushion to spare, since then."""
    room_since: float | None = None
    """There has been room for the first in line since then."""
    leaving: Mapping[str, float] = {}
    """Who is being squeezed to be stopped, and since when."""
    at: float = -1e9


class Outcome(msgspec.Struct, frozen=True):
    """What load control makes of one step: decisions that go before all others, and what changes with them."""

    load: Load
    wishes: Wishes
    decisions: Mapping[str, Suspend | Resume | Stay]
    tracks: Mapping[str, Track]


def control(load: Load, sight: Sight, wishes: Wishes, now: float) -> Outcome:
    """Who is stopped and who runs, under `overload = "suspend"`; under any other choice all that we stopped runs."""
    if sight.overload != "suspend":
        step = _Step(load, Contest((), (), (), (), 0), sight, wishes, now)
        for guest in sight.snapshot.guests:
            if sight.tracks[guest.key].pause is not None:
                step.release(guest)
        return step.outcome(Load(owed=load.owed))
    load = msgspec.structs.replace(load, speed=measured(load.speed, sight.snapshot.host, now))
    step = _Step(load, enlist(load.runs, load.speed, sight, wishes, now), sight, wishes, now)
    return step.outcome(step.choose())


class _Step:
    """One step of load control."""

    def __init__(self, load: Load, contest: Contest, sight: Sight, wishes: Wishes, now: float) -> None:
        self.load, self.contest, self.sight, self.wishes, self.now = load, contest, sight, wishes, now
        self._decisions: dict[str, Suspend | Resume | Stay] = {}
        self._tracks: dict[str, Track] = {}
        self._squeezed: dict[str, Wish] = {}
        self._leaving: dict[str, float] = {}
        self._begun: set[str] = set()
        self._moved: dict[str, int] = {}
        """Who is stopped now, and what has to make way for others for that, bytes."""

    def outcome(self, load: Load) -> Outcome:
        """What was decided, with the state to go on from."""
        wishes = self.wishes
        if self._squeezed:
            wishes = msgspec.structs.replace(wishes, wishes={**wishes.wishes, **self._squeezed})
        return Outcome(load, wishes, self._decisions, self._tracks)

    # What is done.

    def choose(self) -> Load:
        """Decide for everybody who takes part, or was stopped and does not any more."""
        load, contest, now = self.load, self.contest, self.now
        for guest in contest.orphans:
            self.release(guest)
        for one in (*contest.waiting, *contest.running, *contest.deaf):
            if one.track.pause is not None:
                self._keep_or_insist(one)
        over_since = _since(load.over_since, contest.used - contest.unsure > contest.room, now)
        is_stuck = over_since is not None and now - over_since >= ENTER_S
        is_on = load.is_on or bool(contest.waiting) or (is_stuck and len(contest.running) > 1)
        room_since = None
        if is_on and not (is_stuck and self._stop_too_many()) and contest.waiting:
            room_since = self._serve(contest.waiting[0])
        all_fit = is_on and not contest.waiting and contest.used <= contest.room - self.wishes.cushion
        fits_since = _since(load.fits_since, all_fit, now)
        if fits_since is not None and now - fits_since >= LEAVE_S:
            is_on = not all(one.has_had_its_turn(now) for one in contest.running)
        changes = any(map(self._changes_places, self._decisions.values()))
        return Load(
            speed=changed(load.speed, now) if changes else load.speed,
            owed=load.owed,
            runs=self._runs() if is_on else {},
            is_on=is_on,
            over_since=over_since,
            fits_since=fits_since if is_on else None,
            room_since=room_since,
            leaving=self._leaving,
            at=now,
        )

    def _changes_places(self, order: Suspend | Resume | Stay) -> bool:
        """It is to stop, or to run; and is not only told again, for it does not."""
        pause = self.sight.tracks[order.key].pause
        return not isinstance(order, Stay) and (pause is None or pause.called_at is None)

    def _runs(self) -> dict[str, Run]:
        """What everybody has had by now; when counting begins, so does the turn of those that go on."""
        load, begun = self.load, self._begun
        if not load.is_on:
            begun = {one.key for one in self.contest.running} - self._leaving.keys()
        elapsed = self.now - load.at if load.is_on else 0.0
        there = {g.key: load.runs[g.key] for g in self.sight.snapshot.guests if g.key in load.runs}
        return counted(self.contest, there, frozenset(begun), self._moved, elapsed, self.now)

    def _stop_too_many(self) -> bool:
        """Those that run do not fit: stop as many as have to, one at least goes on; False when nobody can."""
        contest, used = self.contest, self.contest.used
        leavers: list[Contender] = []
        running = self._by_turn()
        for one in running:
            # One that was told to run is not the one that goes on: it may stand still for a reason that is not ours.
            if used <= contest.room or len(leavers) == len(running) - 1:
                break
            if not one.run.was_stopped or one.has_had_its_turn(self.now):
                leavers.append(one)
                used -= one.need
        self._squeeze(leavers)
        for one in leavers:
            if self._is_squeezed(one):
                self._stop(one, Reason.OVERLOAD, contest.used - contest.room)
        return bool(leavers)

    def _serve(self, first: Contender) -> float | None:
        """Let the first in line run, when there is room, it is its turn or nobody else does; since when there has been
        room."""
        contest, now = self.contest, self.now
        if not any(one.guest.running or not is_due(one.pause, now) for one in contest.running):
            # Who ran has gone, or was told to run and does not.
            self._resume(first, Reason.TURN, {})
            return None
        # Running again has to be worth it: one that was stopped just now has to fit with something to spare.
        is_early = now - first.pause.at < first.turn_s
        needed = contest.used + first.need
        fits = needed <= contest.room - (self.wishes.cushion if is_early else 0)
        room_since = _since(self.load.room_since, fits, now)
        if room_since is not None:
            if now - room_since >= ROOM_S:
                self._resume(first, Reason.ROOM, {"room": contest.room - contest.used})
                return None
            return room_since
        leavers = self._in_the_way(first)
        self._squeeze(leavers)
        if leavers and all(self._is_squeezed(one) for one in leavers):
            for one in leavers:
                self._stop(one, Reason.TURN_OVER, needed - contest.room)
            self._resume(first, Reason.TURN, {})
        return None

    def _in_the_way(self, first: Contender) -> list[Contender]:
        """Those whose turn is over and who must stop for the first in line; none when it has to wait for others.

        One that does not even fit alone runs alone when it is its turn, and the host swaps meanwhile.
        """
        needed, room = self.contest.used + first.need, self.contest.room
        leavers: list[Contender] = []
        for one in self._by_turn():
            if needed <= room:
                break
            if one.has_had_its_turn(self.now) and one.is_ahead_of(first):
                leavers.append(one)
                needed -= one.need
        return leavers if needed <= room or len(leavers) == len(self.contest.running) else []

    def _by_turn(self) -> list[Contender]:
        """Those that run, the first to be stopped first."""
        done = [
            one for one in self.contest.running if one.track.health in STOPPABLE and one.track.pause is None
        ]
        # Who is being squeezed already stays chosen, or two that have run alike would both be squeezed in vain.
        return sorted(
            done,
            key=lambda one: (one.key not in self.load.leaving, -one.run.ran, one.guest.shares, -one.place),
        )

    # How it is done.

    def _squeeze(self, leavers: Sequence[Contender]) -> None:
        """Have them give up what they do not need, while they can."""
        for one in leavers:
            self._leaving[one.key] = self.load.leaving.get(one.key, self.now)
            if one.key in self.wishes.wishes:
                size = min(max(one.need, one.guest.floor), one.track.target)
                self._squeezed[one.key] = Wish(
                    size, Reason.SQUEEZE, size, size, size, {"need": one.need}, at_once=True
                )

    def _is_squeezed(self, one: Contender) -> bool:
        wish = self._squeezed.get(one.key)
        if wish is None or self.now - self._leaving[one.key] >= SQUEEZE_S:
            return True
        return one.track.target - wish.size <= pace.dead_band(one.guest) and not one.track.shrinking

    def _stop(self, one: Contender, reason: Reason, excess: int) -> None:
        guest = one.guest
        assert guest.pid is not None
        ran_s = self.now - one.run.since
        numbers: dict[str, int | float] = {
            "need": one.need,
            "excess": excess,
            "ran_s": ran_s,
            "turn_s": one.turn_s,
        }
        self._decisions[one.key] = Suspend(guest.key, guest.name, reason, numbers)
        pause = Pause(pid=guest.pid, at=self.now, need=one.need)
        self._tracks[one.key] = msgspec.structs.replace(one.track, pause=pause)
        self._moved[one.key] = min(one.need, max(0, excess))

    def _resume(self, one: Contender, reason: Reason, numbers: dict[str, int | float]) -> None:
        order, track = resume(one.guest, one.track, reason, {"need": one.need} | numbers, self.now)
        self._decisions[one.key], self._tracks[one.key] = order, track
        self._begun.add(one.key)

    def _keep_or_insist(self, one: Contender) -> None:
        """It stays stopped, or it was told to run and does not yet."""
        if one.pause.resumed_at is not None and is_due(one.pause, self.now):
            self._resume(one, Reason.TURN, {})
        else:
            self._stay(one.guest, one.track, {"need": one.need})

    def release(self, guest: Guest) -> None:
        """Let one run that may not be stopped any more."""
        track = self.sight.tracks[guest.key]
        assert track.pause is not None
        if is_due(track.pause, self.now):
            order, track = resume(guest, track, Reason.RELEASE, {}, self.now)
            self._decisions[guest.key], self._tracks[guest.key] = order, track
        else:
            self._stay(guest, track, {})

    def _stay(self, guest: Guest, track: Track, numbers: dict[str, int | float]) -> None:
        assert track.pause is not None
        numbers = numbers | {"stopped_s": self.now - track.pause.at}
        self._decisions[guest.key] = Stay(guest.key, guest.name, Reason.WAIT_TURN, numbers, size=track.target)


def _since(before: float | None, holds: bool, now: float) -> float | None:
    """Since when something has held, that did `before` or not; None when it does not."""
    if not holds:
        return None
    return now if before is None else before
