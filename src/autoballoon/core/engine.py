"""The engine: one step from what was seen to what is to be done.

    health (may this guest be moved?) -> wish (the policy) -> overload (who runs, when not all fit)
        -> pace (how fast) -> guard (the last word)

`step` is pure and is shared by the daemon, the simulator, the replay of a recording and `plan`. An Engine is
immutable: a reload makes a new one and keeps the state.
"""

from collections.abc import Container, Iterable, Mapping
from typing import Any

import msgspec

from autoballoon.core import guard, pause
from autoballoon.core.handback import handed_back
from autoballoon.core.health import observe, reading_of
from autoballoon.core.kept import EVERYONE, Kept, KeptGuest, kept_of, out_of_sight, recalled, without_hold
from autoballoon.core.lull import Lull, follow
from autoballoon.core.model import AnyDecision, Guest, Reason, Resume, SetTarget, Snapshot, Stay, Suspend
from autoballoon.core.overload import Load, control
from autoballoon.core.policy import Policy, Sight, Wishes
from autoballoon.core.pool import Account, account_of, charge_of, heading_of, overhead_of
from autoballoon.core.track import GROWS, OK, Track
from autoballoon.core.turn import GRANT_MIN, Turn
from autoballoon.core.units import Portion

SUSPECT_S = 0.35
"""A reading is good for so long in a guest that does not grow, though it could: two rounds of asking."""


class Rules(msgspec.Struct, frozen=True):
    """What the operator decided for the whole host."""

    reserve: Portion = Portion(share=0.05)
    overload: str = "host-swap"
    interval_s: float = 1.0
    dry_run: bool = False
    """Decide, but remember nothing as done; only that a fresh reading is waited for."""


class State(msgspec.Struct, frozen=True):
    """Everything that is carried from one step to the next."""

    tracks: Mapping[str, Track]
    memory: Any
    account: Account | None = None
    wishes: Wishes | None = None
    wished_at: float = -1e9
    lull: Lull | None = None
    """How much of the host's room nobody has wanted for a while."""
    load: Load = Load()
    """Load control: whom we have stopped, and whose turn it is."""
    holds: frozenset[str] = frozenset()
    """Keys of the guests that are not to be shrunk; EVERYONE may be among them."""
    unseen: Mapping[str, KeptGuest] = {}
    """What is kept of guests that are not in sight, or whose process nobody has been able to tell yet."""

    def is_held(self, key: str) -> bool:
        """Whether the operator wants this guest never to be shrunk."""
        return key in self.holds or EVERYONE in self.holds


class Engine:
    """Rules and a policy, ready to step."""

    def __init__(self, rules: Rules, policy: Policy) -> None:
        self.rules = rules
        self.policy = policy

    def start(self, kept: Kept | None = None) -> State:
        """The state of an engine that has seen nothing; `kept`: what an earlier one left of the guests to come."""
        kept = kept or Kept()
        load = Load(owed=kept.suspended)
        return State({}, self.policy.start(), load=load, holds=kept.holds, unseen=kept.guests)

    @staticmethod
    def kept(state: State) -> Kept:
        """What is to outlive this engine: `start` takes it."""
        guests = dict(state.unseen)
        for key, track in state.tracks.items():
            if (kept := kept_of(track)) is not None:
                guests[key] = kept
        return Kept(guests, state.holds, Engine.stopped(state))

    @staticmethod
    def stopped(state: State) -> Mapping[str, int]:
        """Whom we have stopped, in sight or not, with the QEMU process."""
        pids = {key: track.pause.pid for key, track in state.tracks.items() if track.pause is not None}
        return pids | dict(state.load.owed)

    @staticmethod
    def owe(state: State, pids: Mapping[str, int]) -> State:
        """The state in which these guests, by key, are ours to resume when they stand still with this QEMU process."""
        load = msgspec.structs.replace(state.load, owed={**state.load.owed, **pids})
        return msgspec.structs.replace(state, load=load)

    @staticmethod
    def hold(state: State, key: str) -> State:
        """The state in which this guest (or EVERYONE) is never shrunk."""
        return msgspec.structs.replace(state, holds=state.holds | {key})

    @staticmethod
    def unhold(state: State, key: str) -> State:
        """The state in which this guest (or EVERYONE) is balanced again, and a size that others set is its ceiling
        no longer."""
        tracks = {
            one: msgspec.structs.replace(track, adopted=None, taken_from=None, below=0)
            if key in (one, EVERYONE)
            else track
            for one, track in state.tracks.items()
        }
        unseen = {
            one: msgspec.structs.replace(kept, ceiling=None) if key in (one, EVERYONE) else kept
            for one, kept in state.unseen.items()
        }
        holds = without_hold(state.holds, key, tracks)
        return msgspec.structs.replace(state, tracks=tracks, unseen=unseen, holds=holds)

    @staticmethod
    def forget(state: State, keys: Container[str]) -> State:
        """The state without what is kept of these guests, which are out of sight and no more; holds stay."""
        unseen = {key: kept for key, kept in state.unseen.items() if key not in keys}
        return msgspec.structs.replace(state, unseen=unseen)

    def take_over(self, state: State) -> State:
        """The state of another engine to go on from: what is known of the guests stays, its policy's memory goes."""
        return msgspec.structs.replace(state, memory=self.policy.start(), wishes=None, wished_at=-1e9)

    def step(self, state: State, snapshot: Snapshot, now: float) -> tuple[State, tuple[AnyDecision, ...]]:
        """Decide once: exactly one decision for each guest of the snapshot, in its order.

        `now` is monotonic seconds. Same state, snapshot and time: same decisions (I9).
        """
        tracks, owed = self.observed(state, snapshot, now)
        account = account_of(snapshot, tracks, self.rules.reserve)
        movable = tuple(
            g for g in snapshot.guests if tracks[g.key].health is OK and tracks[g.key].pause is None
        )
        sight = Sight(snapshot, account, tracks, movable, self._overload)
        wishes, wished_at = state.wishes, state.wished_at
        every_s = self.policy.every_s
        if wishes is None or now - wished_at >= every_s:
            wishes = self.policy.wish(state.memory, sight, now)
            # Ticks come a little early or late; counted from when it was due, a look each 10 s stays one each 10 s.
            wished_at = wished_at + every_s if now - wished_at < 2 * every_s else now
        account = msgspec.structs.replace(account, cushion=wishes.cushion)
        first = control(msgspec.structs.replace(state.load, owed=owed), sight, wishes, now)

        beyond = account.room - account.cushion
        lull = follow(state.lull, beyond, now, left=not state.tracks.keys() <= tracks.keys())
        idle = min(lull.idle, beyond)
        if idle < beyond and _holds_all(snapshot, tracks, account):
            idle = beyond
        turn = Turn(snapshot, tracks, account, first.wishes, now, raw=self.policy.raw, idle=idle)
        decisions: tuple[AnyDecision, ...] = turn.decide()
        moved = turn.moved
        if first.decisions:
            decisions = tuple(first.decisions.get(move.key, move) for move in decisions)
            moved = {k: track for k, track in moved.items() if k not in first.decisions}
        if not self.rules.dry_run:
            tracks.update(moved)
            tracks.update(first.tracks)
        else:
            # It waits for a fresh reading all the same, or the shrink after that would never be shown.
            for move in decisions:
                if isinstance(move, Stay) and move.key in moved:
                    asked = moved[move.key].asked_since
                    tracks[move.key] = msgspec.structs.replace(tracks[move.key], asked_since=asked)
        if not account.guarantee and heading_of(snapshot, tracks, now) > account.pool:
            # What guests that boot were promised when they were fewer is no longer there.
            tracks = {key: msgspec.structs.replace(track, grace_until=now) for key, track in tracks.items()}
        unseen = out_of_sight(state.unseen, state.tracks, tracks)
        after = State(
            tracks, wishes.memory, account, wishes, wished_at, lull, first.load, state.holds, unseen
        )
        return after, decisions

    @property
    def _overload(self) -> str:
        """What is done about an overload: a published rule knows no such thing."""
        return "host-swap" if self.policy.raw else self.rules.overload

    @staticmethod
    def observed(state: State, snapshot: Snapshot, now: float) -> tuple[dict[str, Track], Mapping[str, int]]:
        """The tracks brought up to date, and who is stopped by us and out of sight."""
        tracks, owed = {}, state.load.owed
        for guest in snapshot.guests:
            before = state.tracks.get(guest.key)
            track = observe(before, guest, now)
            if guest.pid is not None and guest.key in state.unseen:
                track = recalled(track, state.unseen[guest.key], now)
            if track.pause is not None or owed:
                track = pause.follow(track, guest, now, owed.get(guest.key))
            tracks[guest.key] = track
        if owed or not state.tracks.keys() <= tracks.keys():
            owed = pause.still_owed(owed, state.tracks, snapshot.guests)
        return tracks, owed

    def curious(self, state: State, now: float) -> frozenset[str]:
        """Guests of whom a fresh reading is wanted now: about to shrink, or growing and perhaps near their edge."""
        watch, wishes = self.policy.watch, state.wishes
        levels = {} if wishes is None else wishes.asked_from or wishes.edges
        wanted = set()
        for key, track in state.tracks.items():
            reading = track.reading
            if track.health is not OK or reading is None:
                continue
            speed = max(reading.growth, GROWS)
            near = levels.get(key, 0) + watch.ahead_s * speed
            rests = not watch.wary and reading.growth <= GROWS and reading.available >= near
            is_due = not rests and now - reading.taken_at >= (reading.available - near) / speed
            if guard.awaits_reading(track, now) or is_due:
                wanted.add(key)
        return frozenset(wanted)

    def suspects(self, state: State, now: float) -> frozenset[str]:
        """Guests that could be at their edge by the next look, if they grow since their reading as fast as they can.

        Asking costs several commands; a guest whose processors stand still cannot grow, so ask those that run.
        """
        edges, peaks = ({}, {}) if state.wishes is None else (state.wishes.edges, state.wishes.peaks)
        ahead_s = self.policy.watch.ahead_s
        found = set()
        for key, track in state.tracks.items():
            reading = track.reading
            if track.health is not OK or reading is None:
                continue
            age_s = now - reading.taken_at
            grown = (age_s + ahead_s) * peaks.get(key, 0.0)
            if age_s >= SUSPECT_S and reading.available - grown < edges.get(key, 0):
                found.add(key)
        return frozenset(found)

    def lacks_room(self, state: State) -> bool:
        """Whether the host, or a guest that needs more, waits for what others give: then a tick is due at once."""
        if self.policy.watch.wary and state.account is not None and state.account.room < 0:
            return True
        wishes = state.wishes.wishes if state.wishes is not None else {}
        tracks = state.tracks
        return any(
            key in tracks and tracks[key].target + GRANT_MIN <= wish.urgent for key, wish in wishes.items()
        )

    def near_edge(self, state: State, guest: Guest, now: float) -> bool:
        """Whether this fresh look at a guest deserves a tick before the next regular one.

        One that grows deserves it when the next look would find it beyond its edge: memory takes as long again to come.
        """
        track = state.tracks.get(guest.key)
        if track is None or track.reading is None or guest.available is None:
            return False
        if guard.awaits_reading(track, now):
            return True
        edge = state.wishes.edges.get(guest.key, 0) if state.wishes is not None else 0
        reading = reading_of(track, guest, now)
        ahead = reading.growth * self.policy.watch.ahead_s if reading is not None and reading.grows else 0
        return guest.available - ahead < edge

    def release(self, state: State, snapshot: Snapshot, now: float) -> tuple[State, tuple[Resume, ...]]:
        """Let everybody run that we stopped, whatever the rules; the state remembers that they were told so."""
        return self._released(state, snapshot, now, Reason.RELEASE)

    def _released(
        self, state: State, snapshot: Snapshot, now: float, why: Reason
    ) -> tuple[State, tuple[Resume, ...]]:
        tracks, owed = self.observed(state, snapshot, now)
        orders = []
        for guest in snapshot.guests:
            track = tracks[guest.key]
            if track.pause is not None:
                order, tracks[guest.key] = pause.resume(guest, track, why, {}, now)
                orders.append(order)
        load = msgspec.structs.replace(state.load, owed=owed)
        return msgspec.structs.replace(state, tracks=tracks, load=load), tuple(orders)

    def learnt(
        self, state: State, orders: Iterable[tuple[Suspend | Resume, bool | None]], now: float
    ) -> State:
        """The state when it is known what became of orders to stop and to run: see guests.hypervisor."""
        tracks = dict(state.tracks)
        for order, done in orders:
            if order.key in tracks:
                tracks[order.key] = pause.learnt(tracks[order.key], order, done, now)
        return msgspec.structs.replace(state, tracks=tracks)

    def farewell(self, state: State, snapshot: Snapshot, now: float) -> tuple[Resume | SetTarget, ...]:
        """Leaving: let all run that we stopped, then hand back what the pool allows to those we have made smaller.

        Nobody will shrink anybody after this, so only what is free now is handed out, and nobody is shrunk. To be
        carried out in this order: a guest may be among both.
        """
        state, resumes = self._released(state, snapshot, now, Reason.FAREWELL)
        # Those that run again take what they were promised.
        tracks = {key: msgspec.structs.replace(track, pause=None) for key, track in state.tracks.items()}
        account = account_of(snapshot, tracks, self.rules.reserve)
        return (*resumes, *handed_back(snapshot.guests, tracks, account.room))

    def hand_back(
        self, state: State, snapshot: Snapshot, now: float, whom: Container[str]
    ) -> tuple[State, tuple[SetTarget, ...]]:
        """These guests are left alone from now on: what is free, but the cushion, is handed back to those of them that
        we have made smaller. Nobody is shrunk for it."""
        tracks, owed = self.observed(state, snapshot, now)
        account = account_of(snapshot, tracks, self.rules.reserve)
        cushion = 0 if state.account is None else state.account.cushion
        leaving = [guest for guest in snapshot.guests if guest.key in whom]
        orders = handed_back(leaving, tracks, account.room - cushion)
        for guest in leaving:
            tracks[guest.key] = msgspec.structs.replace(
                tracks[guest.key], ours=False, target=guest.actual, before=guest.actual
            )
        load = msgspec.structs.replace(state.load, owed=owed)
        return msgspec.structs.replace(state, tracks=tracks, load=load), orders


def _holds_all(snapshot: Snapshot, tracks: Mapping[str, Track], account: Account) -> bool:
    """Whether every guest could be as large as it may be: then nothing that is given will be wanted back."""
    left = account.pool - account.promised - account.cushion
    for guest in snapshot.guests:
        track = tracks[guest.key]
        left -= max(charge_of(guest, track), overhead_of(guest) + guard.bounds(guest, track)[1])
        if left < 0:
            return False
    return True
