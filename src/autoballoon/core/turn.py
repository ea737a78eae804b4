"""One turn: wishes made into decisions, first who must follow, then who shrinks, then what is granted.

While the host is short, only what is missing is taken, and from where it hurts least: a guest's surplus before
anybody's cold cache, that before warm cache, need last. What is already on its way back is counted.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import msgspec

from autoballoon.core import guard, pace
from autoballoon.core.model import Guest, Reason, SetTarget, Snapshot, Stay
from autoballoon.core.policy import Wish, Wishes
from autoballoon.core.pool import Account, charge_of, overhead_of
from autoballoon.core.share import water_fill
from autoballoon.core.track import Health, Track
from autoballoon.core.units import MIB, page_floor

Move = SetTarget | Stay

_KEPT = {
    Health.UNMANAGED: Reason.UNMANAGED,
    Health.INCOMING: Reason.INCOMING,
    Health.STOPPED: Reason.STOPPED,
    Health.SILENT: Reason.SILENT,
    Health.NO_DRIVER: Reason.NO_DRIVER,
    Health.BOOTING: Reason.BOOTING,
}
_HURTS = {
    reason: degree
    for degree, reason in enumerate(
        (
            Reason.TAKE_SURPLUS,
            Reason.TAKE_COLD_CACHE,
            Reason.TAKE_WARM_CACHE,
            Reason.TAKE_HEADROOM,
            Reason.TAKE_NEED,
        )
    )
}
GRANT_MIN = 4 * MIB
"""Smaller grants wait until there is more to give: every move costs the guest an interrupt."""
STEP_MIN = 32 * MIB
"""A shrink is worth at least this, where there is so much to take."""
IDLE_STEP_MIN, IDLE_PART = 64 * MIB, 8
"""... and of what lies idle, surplus and cold cache, at least this or an eighth of the guest: every move costs."""
BACK_MIN, BACK_PART = 32 * MIB, 16
"""What is given back to lie idle is worth at least this or a sixteenth of the guest: somebody else may want it soon."""


class Case(msgspec.Struct, frozen=True, gc=False):
    """One guest whose size is to change."""

    guest: Guest
    track: Track
    wish: Wish
    size: int
    """The wish within the guest's bounds."""
    deflated: bool = False
    """It has just taken memory back by itself, and needs more."""

    @property
    def base(self) -> int:
        """What it is charged for anyway: a target up to its actual size costs nothing."""
        return max(self.track.target, min(page_floor(self.guest.actual), self.size))

    @property
    def levels(self) -> tuple[int, int, int, int]:
        """The sizes up to which it needs memory, may need it soon, has it in use, and could have it."""
        return self.wish.need, self.wish.urgent, self.wish.used, self.size


class Turn:
    """One step's decisions."""

    def __init__(
        self,
        snapshot: Snapshot,
        tracks: Mapping[str, Track],
        account: Account,
        wishes: Wishes,
        now: float,
        *,
        raw: bool,
        calm: bool,
    ) -> None:
        self.snapshot = snapshot
        self.tracks = tracks
        self.account = account
        self.wishes = wishes
        self.now = now
        self.raw = raw
        self.calm = calm
        self.moved: dict[str, Track] = {}
        """The tracks that change when the decisions are carried out."""
        self._decisions: dict[str, Move] = {}
        self._lacking = sum(
            max(0, wish.urgent - tracks[key].target) for key, wish in wishes.wishes.items() if key in tracks
        )
        """Bytes that guests need and have not been given."""
        self._missing = self._short_of()

    def decide(self) -> tuple[Move, ...]:
        """Exactly one decision for each guest, in the snapshot's order. Call once."""
        growers: list[Case] = []
        shrinkers: list[Case] = []
        for guest in self.snapshot.guests:
            case = self._settle(guest)
            if case is not None:
                (growers if case.size > case.track.target else shrinkers).append(case)
        self._shrink_all(shrinkers)
        self._grow_all(growers)
        return tuple(self._decisions[guest.key] for guest in self.snapshot.guests)

    def _short_of(self) -> tuple[int, int] | None:
        """Bytes that the host is short of, beyond what is on its way back; None when it is not short.

        Short is a host of whose cushion half is used, or will be when guests get what they lack, or where a guest
        lacks memory for its warm cache. The first number may be taken from whatever hurts least, the second, for
        others' warm cache, only from what lies idle.
        """
        tracks, wishes = self.tracks, self.wishes.wishes
        lacking, cold = self._lacking, 0
        for key, wish in wishes.items():
            if key not in tracks:
                continue  # it has gone since the policy looked
            lack = wish.used - max(tracks[key].target, wish.urgent)
            if lack > pace.SHORT_DEAD_BAND:
                cold += lack
        enough = self.account.room - lacking >= self.account.cushion // 2
        if not self.account.short and enough and cold == 0:
            return None
        missing = self.account.cushion + lacking - self.account.room - self._coming()
        return missing, missing + cold

    def _settle(self, guest: Guest) -> Case | None:
        """Decide for a guest that cannot or need not follow a wish; the Case of one that is to change its size."""
        track, wish = self.tracks[guest.key], self.wishes.wishes.get(guest.key)
        # What others published follows nobody and sets no boot target: their guests stay where their rule puts them.
        follow = None if self.raw else guard.must_follow(guest, track, self.now)
        if follow is Reason.DEFLATED and wish is not None and self._bounded(guest, wish) > guest.actual:
            # It cries for memory: what it took it keeps, and what it still lacks it is given in the same breath.
            return Case(guest, track, wish, self._bounded(guest, wish), deflated=True)
        if follow is not None:
            self._follow(guest, track, follow)
        elif track.health is Health.BOOTING and not track.ours and not self.raw:
            self._boot(guest, track)
        elif track.health is not Health.OK:
            self._stay(guest, track, _KEPT[track.health])
        elif wish is None:
            self._stay(guest, track, Reason.SETTLED)
        elif (track.below or track.taken_from is not None) and not self.raw:
            self._stay(guest, track, Reason.WAIT_READING, wish)
        elif track.shrinking and wish.need <= track.target and not self.raw:
            self._stay(guest, track, Reason.WAIT_MOVE, wish)
        else:
            size = self._bounded(guest, wish)
            if size != track.target:
                return Case(guest, track, wish, size)
            self._stay(guest, track, Reason.SETTLED, wish)
        return None

    def _bounded(self, guest: Guest, wish: Wish) -> int:
        """I1: the wish within the guest's bounds."""
        return guard.within(guest, self.tracks[guest.key], wish.size)

    def _follow(self, guest: Guest, track: Track, reason: Reason) -> None:
        cool = guard.cool_down(guest, track, reason)
        adopted = guest.actual if reason is Reason.MANUAL else track.adopted
        self._set(
            guest,
            track,
            guest.actual,
            reason,
            {"asked": track.target},
            cool_until=self.now + cool,
            adopted=adopted,
        )

    def _boot(self, guest: Guest, track: Track) -> None:
        """I3: one target before the driver is up: its fair share of the pool, at least its floor."""
        size = guard.within(guest, track, self._fair_shares[guest.key])
        if size >= guest.actual:
            self._stay(guest, track, Reason.BOOTING)
        else:
            self._set(guest, track, size, Reason.BOOT, {"pool": self.account.pool})

    @cached_property
    def _fair_shares(self) -> dict[str, int]:
        """What each would get if the pool, less the cushion and those who cannot move, were shared out anew."""
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
        return {guest.key: share for guest, share in zip(sharing, shares, strict=True)}

    def _shrink_all(self, cases: list[Case]) -> None:
        if self.raw:
            for case in cases:
                self._shrink(case, case.size, None if case.track.fresh() else Reason.WAIT_READING)
            return
        for case in cases:
            if case.wish.at_once:
                self._shrink(case, case.size, guard.bars_shrink(case.track, self.now))
        cases = [case for case in cases if not case.wish.at_once]
        if self._missing is None:
            self._refill(cases)
            return
        missing, idle = self._missing
        band = pace.NEED_DEAD_BAND if self._lacking else pace.SHORT_DEAD_BAND
        for case in sorted(cases, key=_least_hurt):
            gap = case.track.target - case.size
            is_idle = _least_hurt(case)[0] <= _HURTS[Reason.TAKE_COLD_CACHE]
            wanted = idle if is_idle else missing
            step = max(IDLE_STEP_MIN, case.guest.max // IDLE_PART) if is_idle else STEP_MIN
            small = wanted <= 0 or gap <= band
            bar = Reason.SMALL if small else guard.bars_shrink(case.track, self.now)
            taken = min(gap, max(wanted, step))
            if wanted <= 0 and gap > max(BACK_MIN, 2 * pace.dead_band(case.guest)):
                # Nobody waits for it, but by shares it is another's: it goes there slowly.
                self._shrink_slowly(case)
                continue
            # Who waits for a fresh reading will give it in a moment: nobody else is shrunk in its stead.
            if bar in (None, Reason.WAIT_READING):
                missing, idle = missing - taken, idle - taken
            self._shrink(case, case.track.target - taken, bar)

    def _refill(self, cases: list[Case]) -> None:
        """The host is not short: its cushion is filled up with what is free in guests; all else goes slowly."""
        wanted = self.account.cushion - self.account.room - self._coming()
        for case in sorted(cases, key=_spare, reverse=True):
            spare, step = _spare(case), max(IDLE_STEP_MIN, case.guest.max // IDLE_PART)
            if wanted > 0 and spare >= step:
                bar, taken = guard.bars_shrink(case.track, self.now), min(spare, max(wanted, step))
                wanted -= taken if bar in (None, Reason.WAIT_READING) else 0
                self._shrink(case, case.track.target - taken, bar)
            else:
                self._shrink_slowly(case)

    def _coming(self) -> int:
        """Bytes on their way back from guests that are shrinking."""
        tracks = self.tracks
        return sum(
            max(track.actual, guest.resident or 0) - track.target
            for guest in self.snapshot.guests
            if (track := tracks[guest.key]).health is Health.OK and track.shrinking
        )

    def _shrink_slowly(self, case: Case) -> None:
        size, bar = pace.paced_shrink(case.guest, case.track, case.size, now=self.now)
        self._shrink(case, size, bar or guard.bars_shrink(case.track, self.now), paced_at=self.now)

    def _shrink(self, case: Case, size: int, bar: Reason | None, **changes: Any) -> None:
        track = case.track
        if bar is None:
            numbers = case.wish.numbers | {"room": self.account.room, "cushion": self.account.cushion}
            self._set(case.guest, track, page_floor(size), case.wish.reason, numbers, **changes)
            return
        if bar is Reason.WAIT_READING:
            asked = self.now if track.asked_since is None else track.asked_since
            self.moved[case.guest.key] = msgspec.structs.replace(track, asked_since=asked)
        self._stay(case.guest, track, bar, case.wish)

    def _grow_all(self, cases: list[Case]) -> None:
        if self.raw:
            granted: Iterable[int] = [case.size - case.base for case in cases]
        else:
            room, cushion = self.account.room, self.account.cushion
            grows = [guard.Grow(case.base, case.levels, case.guest.shares) for case in cases]
            granted = guard.grants(grows, room, cushion, self.wishes.excess, calm=self.calm)
        for case, more in zip(cases, granted, strict=True):
            gain = page_floor(case.base + more) - case.track.target
            bar = None if self.raw and gain > 0 else self._bars_grow(case, gain)
            if bar is not None and case.deflated:
                self._follow(case.guest, case.track, Reason.DEFLATED)
                continue
            if bar is not None:
                self._stay(case.guest, case.track, bar, case.wish)
                continue
            numbers = case.wish.numbers | {"room": self.account.room}
            cool_until = self.now + guard.DEFLATED_COOL_S if case.deflated else case.track.cool_until
            size = case.track.target + gain
            self._set(case.guest, case.track, size, case.wish.reason, numbers, cool_until=cool_until)

    @staticmethod
    def _bars_grow(case: Case, gain: int) -> Reason | None:
        """Why a growth of `gain` bytes is not worth a move now, if it is not."""
        wanted, worth = case.size - case.track.target, pace.dead_band(case.guest)
        starves = case.track.target < case.wish.need + worth
        if case.track.target >= min(case.wish.used, case.size):
            worth = max(worth, BACK_MIN, case.guest.max // BACK_PART)
        if wanted <= worth and case.track.target >= min(case.wish.urgent, case.size):
            return Reason.SMALL
        least = min(GRANT_MIN if starves else worth, wanted)
        return Reason.WAIT_ROOM if gain < least else None

    def _set(
        self,
        guest: Guest,
        track: Track,
        size: int,
        reason: Reason,
        numbers: dict[str, int | float],
        **changes: Any,
    ) -> None:
        self._decisions[guest.key] = SetTarget(
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
            taken_from=None,
            **changes,
        )

    def _stay(self, guest: Guest, track: Track, reason: Reason, wish: Wish | None = None) -> None:
        numbers: dict[str, int | float] = {}
        if wish is not None:
            numbers = wish.numbers | {"wish": wish.size}
        self._decisions[guest.key] = Stay(guest.key, guest.name, reason, numbers, size=track.target)
        if track.asked_since is not None and reason is not Reason.WAIT_READING:
            self.moved[guest.key] = msgspec.structs.replace(track, asked_since=None)


def _least_hurt(case: Case) -> tuple[int, int]:
    """Sorts by what would be taken, then by how much there is to take."""
    return _HURTS.get(case.wish.reason, 0), case.size - case.track.target


def _spare(case: Case) -> int:
    """Bytes that may be taken and hold nothing at all, headroom left out."""
    reading = case.track.reading
    if reading is None or reading.free is None:
        return 0
    return min(case.track.target - case.size, reading.free - (case.wish.urgent - case.wish.need))
