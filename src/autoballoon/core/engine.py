"""The engine: one step from what was seen to what is to be done.

    health (may this guest be moved?) -> wish (the policy) -> pace (how fast) -> guard (the last word)

`step` is pure and is shared by the daemon, the simulator, the replay of a recording and `plan`. An Engine is
immutable: a reload makes a new one and keeps the state.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from autoballoon.core import guard, pace
from autoballoon.core.health import observe
from autoballoon.core.model import Guest, Reason, SetTarget, Snapshot, Stay
from autoballoon.core.policy import Policy, Sight, Wish, Wishes
from autoballoon.core.pool import Account, account_of, charge_of, overhead_of
from autoballoon.core.share import water_fill
from autoballoon.core.track import Health, Track
from autoballoon.core.units import MIB, Portion, page_floor

Move = SetTarget | Stay

_KEPT = {
    Health.UNMANAGED: Reason.UNMANAGED,
    Health.INCOMING: Reason.INCOMING,
    Health.STOPPED: Reason.STOPPED,
    Health.SILENT: Reason.SILENT,
    Health.NO_DRIVER: Reason.NO_DRIVER,
    Health.BOOTING: Reason.BOOTING,
}
GRANT_MIN = 2 * MIB
"""Smaller grants wait until there is more to give: every move costs the guest an interrupt."""
CALM_GROWTH = 8 * MIB
"""Bytes a second; a guest that grows faster is worth asking again soon."""


class Rules(msgspec.Struct, frozen=True):
    """What the operator decided for the whole host."""

    reserve: Portion = Portion(share=0.05)
    overload: str = "host-swap"
    interval_s: float = 1.0
    dry_run: bool = False
    """Decide, but remember nothing as done."""


class State(msgspec.Struct, frozen=True):
    """Everything that is carried from one step to the next."""

    tracks: Mapping[str, Track]
    memory: Any
    account: Account | None = None
    wishes: Wishes | None = None
    wished_at: float = -1e9


class Engine:
    """Rules and a policy, ready to step."""

    def __init__(self, rules: Rules, policy: Policy) -> None:
        self.rules = rules
        self.policy = policy

    def start(self) -> State:
        """The state of an engine that has seen nothing."""
        return State(tracks={}, memory=self.policy.start())

    def step(self, state: State, snapshot: Snapshot, now: float) -> tuple[State, tuple[Move, ...]]:
        """Decide once: exactly one decision for each guest of the snapshot, in its order.

        `now` is monotonic seconds. Same state, snapshot and time: same decisions (I9).
        """
        tracks = {g.key: observe(state.tracks.get(g.key), g, now) for g in snapshot.guests}
        account = account_of(snapshot, tracks, self.rules.reserve)
        movable = tuple(g for g in snapshot.guests if tracks[g.key].health is Health.OK)
        wishes, wished_at = state.wishes, state.wished_at
        if wishes is None or now - wished_at >= self.policy.every_s:
            sight = Sight(snapshot, account, tracks, movable, self.rules.overload)
            wishes, wished_at = self.policy.wish(state.memory, sight, now), now
        account = msgspec.structs.replace(account, cushion=wishes.cushion)

        turn = _Turn(self, snapshot, tracks, account, wishes, now)
        decisions = turn.decide()
        if not self.rules.dry_run:
            tracks.update(turn.moved)
        memory = wishes.memory
        return State(tracks, memory, account, wishes, wished_at), decisions

    def curious(self, state: State) -> frozenset[str]:
        """Guests of whom a fresh reading is wanted soon: near their edge, growing, moving, or about to shrink."""
        edges = state.wishes.edges if state.wishes is not None else {}
        wanted = set()
        for key, track in state.tracks.items():
            reading = track.reading
            if track.health is not Health.OK or reading is None:
                continue
            if (
                track.asked_since is not None
                or not (track.fresh() or track.shrinking)
                or reading.growth > CALM_GROWTH
                or reading.available < 3 * edges.get(key, 0) // 2
            ):
                wanted.add(key)
        return frozenset(wanted)

    def suspects(self, state: State) -> frozenset[str]:
        """Guests that could reach their edge before the next regular reading, if they began to grow now.

        Asking costs three commands; a guest whose processors stand still cannot grow, so ask those that run.
        """
        watch = state.wishes.watch if state.wishes is not None else {}
        return frozenset(
            key
            for key, track in state.tracks.items()
            if track.health is Health.OK
            and track.reading is not None
            and track.reading.available < watch.get(key, 0)
        )

    def near_edge(self, state: State, guest: Guest) -> bool:
        """Whether this fresh look at a guest deserves a tick before the next regular one."""
        track = state.tracks.get(guest.key)
        if track is None or track.reading is None or guest.available is None:
            return False
        if track.asked_since is not None:
            return True
        edge = state.wishes.edges.get(guest.key, 0) if state.wishes is not None else 0
        return guest.available < edge

    def farewell(self, state: State, snapshot: Snapshot, now: float) -> tuple[Move, ...]:
        """Leaving: hand back what the pool allows, in one step, to the guests that we have made smaller.

        Nobody will shrink anybody after this, so only what is free now is handed out, and nobody is shrunk.
        """
        tracks = {g.key: observe(state.tracks.get(g.key), g, now) for g in snapshot.guests}
        account = account_of(snapshot, tracks, self.rules.reserve)
        squeezed = [g for g in snapshot.guests if tracks[g.key].ours and g.managed]
        limits = [guard.bounds(g, tracks[g.key])[1] for g in squeezed]
        holds = [max(tracks[g.key].target, g.actual) for g in squeezed]
        claims = [limit - hold for limit, hold in zip(limits, holds, strict=True)]
        given = water_fill(account.room, claims, [g.shares for g in squeezed])
        decisions: list[Move] = []
        for guest, hold, more in zip(squeezed, holds, given, strict=True):
            before, size = tracks[guest.key].target, page_floor(hold + more)
            if size > before:
                numbers: dict[str, int | float] = {"room": account.room}
                decisions.append(
                    SetTarget(guest.key, guest.name, Reason.FAREWELL, numbers, before=before, size=size)
                )
        return tuple(decisions)


class _Turn:
    """One step's decisions: shrinks and follow-ups one by one, then all grants out of one room."""

    def __init__(
        self,
        engine: Engine,
        snapshot: Snapshot,
        tracks: Mapping[str, Track],
        account: Account,
        wishes: Wishes,
        now: float,
    ) -> None:
        self.raw = engine.policy.raw
        self.snapshot, self.tracks, self.account, self.wishes, self.now = (
            snapshot,
            tracks,
            account,
            wishes,
            now,
        )
        self.moved: dict[str, Track] = {}
        self.decisions: dict[str, Move] = {}
        self.short = account.short or self._urgent_deficit() > account.room

    def decide(self) -> tuple[Move, ...]:
        growers: list[tuple[Guest, Track, Wish, int]] = []
        for guest in self.snapshot.guests:
            track = self.tracks[guest.key]
            follow = guard.must_follow(guest, track, self.now)
            wish = self.wishes.wishes.get(guest.key)
            if follow is not None:
                self._follow(guest, track, follow)
            elif track.health is Health.BOOTING and not track.ours:
                self._boot(guest, track)
            elif track.health is not Health.OK:
                self._stay(guest, track, _KEPT[track.health])
            elif wish is None:
                self._stay(guest, track, Reason.SETTLED)
            else:
                low, high = guard.bounds(guest, track)
                if track.shrinking and wish.need <= track.target:
                    self._stay(guest, track, Reason.WAIT_MOVE, wish)
                    continue
                size = min(max(page_floor(wish.size), low), high)
                if size > track.target:
                    growers.append((guest, track, wish, size))
                elif size < track.target:
                    self._shrink(guest, track, wish, size)
                else:
                    self._stay(guest, track, Reason.SETTLED, wish)
        self._grow(growers)
        return tuple(self.decisions[guest.key] for guest in self.snapshot.guests)

    def _urgent_deficit(self) -> int:
        """Bytes of need and headroom that guests lack."""
        return sum(max(0, wish.urgent - self.tracks[key].target) for key, wish in self.wishes.wishes.items())

    def _follow(self, guest: Guest, track: Track, reason: Reason) -> None:
        cool = {Reason.STUCK: guard.STUCK_COOL_S, Reason.DEFLATED: guard.DEFLATED_COOL_S}.get(reason, 0.0)
        changes: dict[str, Any] = {"cool_until": self.now + cool, "below": 0}
        if reason is Reason.MANUAL:
            changes["adopted"] = guest.actual
        self._set(guest, track, guest.actual, reason, {"asked": track.target}, **changes)

    def _boot(self, guest: Guest, track: Track) -> None:
        """I3: one target before the driver is up: its fair share of the pool, at least its floor."""
        size = self._fair_share(guest)
        if size >= guest.actual:
            self._stay(guest, track, Reason.BOOTING)
        else:
            self._set(guest, track, size, Reason.BOOT, {"pool": self.account.pool})

    def _fair_share(self, newcomer: Guest) -> int:
        """The newcomer's part when the pool, less the cushion and those who cannot move, is shared out."""
        sharing, pool = [], self.account.pool - self.account.cushion
        for guest in self.snapshot.guests:
            track = self.tracks[guest.key]
            if track.health in (Health.OK, Health.BOOTING):
                sharing.append(guest)
                pool -= overhead_of(guest)
            else:
                pool -= charge_of(guest, track)
        claims = [guard.bounds(g, self.tracks[g.key])[1] for g in sharing]
        shares = water_fill(pool, claims, [g.shares for g in sharing])
        low, high = guard.bounds(newcomer, self.tracks[newcomer.key])
        return min(max(page_floor(shares[sharing.index(newcomer)]), low), high)

    def _shrink(self, guest: Guest, track: Track, wish: Wish, size: int) -> None:
        bar = None
        if self.raw:
            bar = None if track.fresh() else Reason.WAIT_READING
        else:
            size, bar = pace.paced_shrink(guest, track, size, short=self.short, now=self.now)
            if bar is None:
                size = page_floor(size)
                bar = guard.bars_shrink(track, self.now)
        if bar is Reason.WAIT_READING:
            asked = self.now if track.asked_since is None else track.asked_since
            self.moved[guest.key] = msgspec.structs.replace(track, asked_since=asked)
        if bar is not None:
            self._stay(guest, track, bar, wish)
            return
        numbers = wish.numbers | {"room": self.account.room, "cushion": self.account.cushion}
        paced_at = track.paced_at if self.short else self.now
        self._set(guest, track, size, wish.reason, numbers, paced_at=paced_at)

    def _grow(self, growers: list[tuple[Guest, Track, Wish, int]]) -> None:
        if self.raw:
            granted = [size - track.target for _, track, _, size in growers]
        else:
            granted = guard.grants(
                [guard.Grow(t.target, w.need, w.urgent, size, g.shares) for g, t, w, size in growers],
                self.account.room,
                self.account.cushion,
                self.wishes.excess,
            )
        for (guest, track, wish, size), more in zip(growers, granted, strict=True):
            urgent = track.target < min(wish.urgent, size)
            if not self.raw and not urgent and size - track.target <= pace.dead_band(guest, short=False):
                self._stay(guest, track, Reason.SMALL, wish)
                continue
            got = page_floor(track.target + more)
            starves = track.target < wish.need + pace.dead_band(guest, short=False)
            least = min(GRANT_MIN, size - track.target) if starves else pace.dead_band(guest, short=False)
            if got - track.target < (0 if self.raw else least) or got <= track.target:
                self._stay(guest, track, Reason.WAIT_ROOM, wish)
                continue
            self._set(guest, track, got, wish.reason, wish.numbers | {"room": self.account.room})

    def _set(
        self,
        guest: Guest,
        track: Track,
        size: int,
        reason: Reason,
        numbers: dict[str, int | float],
        **changes: Any,
    ) -> None:
        self.decisions[guest.key] = SetTarget(
            guest.key, guest.name, reason, numbers, before=track.target, size=size
        )
        self.moved[guest.key] = msgspec.structs.replace(
            track,
            target=size,
            before=track.target,
            ours=True,
            set_at=self.now,
            reached=guest.actual <= size,
            below=0,
            asked_since=None,
            **({k: v for k, v in changes.items() if k != "below"}),
        )

    def _stay(self, guest: Guest, track: Track, reason: Reason, wish: Wish | None = None) -> None:
        numbers: dict[str, int | float] = {}
        if wish is not None:
            numbers = wish.numbers | {"wish": wish.size}
        self.decisions[guest.key] = Stay(guest.key, guest.name, reason, numbers, size=track.target)
        if track.asked_since is not None and reason is not Reason.WAIT_READING:
            self.moved[guest.key] = msgspec.structs.replace(track, asked_since=None)
