"""One turn: wishes made into decisions, first who must follow, then who shrinks, then what is granted."""

from collections.abc import Mapping
from functools import cached_property

import msgspec

from autoballoon.core import granting, guard, pace
from autoballoon.core.case import Case
from autoballoon.core.model import Guest, Reason, SetTarget, Snapshot, Stay
from autoballoon.core.policy import Wish, Wishes
from autoballoon.core.pool import Account, charge_of, overhead_of
from autoballoon.core.share import water_fill
from autoballoon.core.taking import shortage, takes
from autoballoon.core.track import OK, SLACK, Health, Track
from autoballoon.core.units import MIB, page_floor

Move = SetTarget | Stay

_KEPT = {
    OK: Reason.SETTLED,
    Health.UNMANAGED: Reason.UNMANAGED,
    Health.INCOMING: Reason.INCOMING,
    Health.STOPPED: Reason.STOPPED,
    Health.SILENT: Reason.SILENT,
    Health.NO_DRIVER: Reason.NO_DRIVER,
    Health.BOOTING: Reason.BOOTING,
}
GRANT_MIN = 4 * MIB
"""Smaller grants wait until there is more to give: every move costs the guest an interrupt."""
BACK_MIN, BACK_PART = 32 * MIB, 16
"""What is given back to lie idle is worth at least this or a sixteenth of the guest: somebody else may want it soon."""


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
        idle: int,
    ) -> None:
        self.snapshot = snapshot
        self.tracks = tracks
        self.account = account
        self.wishes = wishes
        self.now = now
        self.raw = raw
        self.idle = idle
        self.moved: dict[str, Track] = {}
        """The tracks that change when the decisions are carried out."""
        self._decisions: dict[str, Move] = {}

    def decide(self) -> tuple[Move, ...]:
        """Exactly one decision for each guest, in the snapshot's order. Call once."""
        growers: list[Case] = []
        shrinkers: list[Case] = []
        for guest in self.snapshot.guests:
            case = self._settle(guest)
            if case is not None:
                (growers if case.size > case.track.target else shrinkers).append(case)
        if shrinkers:
            self._shrink_all(shrinkers, growers)
        if growers:
            self._grow_all(growers)
        return tuple([self._decisions[guest.key] for guest in self.snapshot.guests])

    def _settle(self, guest: Guest) -> Case | None:
        """Decide for a guest that cannot or need not follow a wish; the Case of one that is to change its size."""
        track, wish = self.tracks[guest.key], self.wishes.wishes.get(guest.key)
        # What others published follows nobody and sets no boot target: their guests stay where their rule puts them.
        follow = None if self.raw else guard.must_follow(guest, track, self.now)
        if follow is not None:
            if follow is Reason.DEFLATED and wish is not None:
                size = guard.within(guest, track, wish.size)
                if size > guest.actual:
                    # It cries for memory: what it took it keeps, and what it still lacks it is given in the
                    # same breath.
                    return Case(guest, track, wish, size, deflated=True)
            self._follow(guest, track, follow)
        elif track.health is OK and wish is not None:
            if not (guest.held and track.shrinking) or track.before < track.target:  # it had less, and boots
                return self._head_for(guest, track, wish)
            self._hold(guest, track, wish)
        elif track.health is Health.BOOTING and not (track.ours or self.raw):
            self._boot(guest, track)
        else:
            self._stay(guest, track, _KEPT[track.health])
        return None

    def _head_for(self, guest: Guest, track: Track, wish: Wish) -> Case | None:
        """The Case of a guest that is to follow its wish; decides for one that is where it should be, or must wait."""
        if guard.is_unexplained(track, self.now) and not self.raw:
            self._stay(guest, track, Reason.WAIT_READING, wish)
            return None
        if track.shrinking and wish.need <= track.target and not self.raw:
            self._stay(guest, track, Reason.WAIT_MOVE, wish)
            return None
        size = guard.within(guest, track, wish.size)
        runs_short = guest.actual < min(track.target, wish.urgent) - SLACK
        if (
            runs_short
            and track.unheard(self.now)
            and guard.within(guest, track, track.target) == track.target
        ):
            self._set(guest, track, track.target, Reason.AGAIN, wish.numbers)
            return None
        if size == track.target or (guest.held and size < track.target):
            self._stay(guest, track, Reason.HELD if guest.held else Reason.SETTLED, wish)
            return None
        return Case(guest, track, wish, size)

    def _follow(self, guest: Guest, track: Track, reason: Reason) -> None:
        if reason is Reason.DEFLATED and self.now - track.changed_at < guard.RISING_S:
            self._stay(guest, track, Reason.WAIT_MOVE)
            return
        cool = guard.cool_down(guest, track, reason)
        if reason in (Reason.DEFLATED, Reason.STUCK):
            track = self._fought(guest, track)
        adopted = guest.actual if reason is Reason.MANUAL else track.adopted
        refuses = cool >= guard.STUCK_COOL_S if reason is Reason.STUCK else track.refuses
        track = msgspec.structs.replace(track, cool_until=self.now + cool, adopted=adopted, refuses=refuses)
        self._set(guest, track, guest.actual, reason, {"asked": track.target})

    def _hold(self, guest: Guest, track: Track, wish: Wish) -> None:
        """A shrink was under way when the operator held the guest: it goes no further."""
        size = guard.within(guest, track, guest.actual)
        if size > track.target:
            self._set(guest, track, size, Reason.HELD, {"asked": track.target})
        else:
            self._stay(guest, track, Reason.HELD, wish)

    def _fought(self, guest: Guest, track: Track) -> Track:
        """The track of a guest that fought at the size that it has now."""
        return msgspec.structs.replace(track, learnt=guest.actual, learnt_at=self.now, beyond=guest.actual)

    def _boot(self, guest: Guest, track: Track) -> None:
        """I3: one target before the driver is up: its fair share of the pool, at least its floor; more, where there is
        room. One that is to keep all it has is told so where QEMU would lead it to the target of an earlier life."""
        lacking = max(0, self.account.cushion - self.account.room)  # with all that boot charged their maximum
        # A held guest may keep what it had, and is made smaller by nobody: its neighbours would never get it back.
        least = (track.asked_before or 0) if guest.held else self._fair_shares[guest.key]
        wanted = max(least, guest.actual - lacking)
        size = min(guard.within(guest, track, wanted), guard.within(guest, track, guest.actual))
        led = track.asked_before
        if led is not None and led < min(size, guest.actual):
            track = msgspec.structs.replace(track, target=led)
        elif size >= guest.actual or guest.held:
            self._stay(guest, track, Reason.BOOTING)
            return
        self._set(guest, track, size, Reason.BOOT, {"pool": self.account.pool})

    @cached_property
    def _short_of(self) -> dict[str, int | float]:
        return _shortage(self.account)

    @cached_property
    def _fair_shares(self) -> dict[str, int]:
        """What each would get if the pool, less the cushion and those who cannot move, were shared out anew."""
        sharing = []
        pool = self.account.pool - self.account.promised - self.account.cushion
        for guest in self.snapshot.guests:
            track = self.tracks[guest.key]
            if track.health in (OK, Health.BOOTING):
                sharing.append(guest)
                pool -= overhead_of(guest)
            else:
                pool -= charge_of(guest, track)
        claims = [guard.bounds(g, self.tracks[g.key])[1] for g in sharing]
        shares = water_fill(pool, claims, [g.shares for g in sharing])
        return {guest.key: share for guest, share in zip(sharing, shares, strict=True)}

    def _shrink_all(self, cases: list[Case], growers: list[Case]) -> None:
        if self.raw:
            for case in cases:
                if case.track.fresh():
                    self._take(case, case.size)
                else:
                    self._spare(case, case.size, Reason.WAIT_READING)
            return
        short = shortage(self.snapshot, self.tracks, self.account, self.wishes, self.now)
        filled = sum(-case.gap for case in growers if case.would_fill)
        for take in takes(cases, short, self.now, filled):
            if take.bar is None:
                self._take(take.case, take.size, paced=take.paced)
            else:
                self._spare(take.case, take.size, take.bar)

    def _take(self, case: Case, size: int, *, paced: bool = False) -> None:
        """It shrinks now."""
        numbers = case.wish.numbers | self._short_of
        size = page_floor(size)
        track = msgspec.structs.replace(case.track, paced_at=self.now) if paced else case.track
        self._set(case.guest, track, size, self._why(case, size), numbers)

    def _spare(self, case: Case, size: int, bar: Reason) -> None:
        """It does not shrink to `size` yet, because of `bar`."""
        track = case.track
        if bar is Reason.WAIT_READING:
            asked = self.now if track.asked_since is None else track.asked_since
            if self.now - asked > guard.STUCK_S and not self.raw:
                # It is never seen standing still: it will not give anything, and others are asked instead.
                bar = Reason.COOL_DOWN
                cool_until = self.now + guard.refusal_s(track, track.target - size)
                track = msgspec.structs.replace(track, asked_since=None, cool_until=cool_until)
            else:
                track = msgspec.structs.replace(track, asked_since=asked)
            self.moved[case.guest.key] = track
        self._stay(case.guest, track, bar, case.wish)

    def _grow_all(self, cases: list[Case]) -> None:
        offers = [(case, case.size) for case in cases] if self.raw else self._offers(cases)
        for case, granted in offers:
            gain = page_floor(granted) - case.track.target
            bar = None if self.raw and gain > 0 else self._bars_grow(case, gain)
            if bar is not None and case.deflated:
                self._follow(case.guest, case.track, Reason.DEFLATED)
                continue
            if bar is not None:
                self._stay(case.guest, case.track, bar, case.wish)
                continue
            numbers = case.wish.numbers | {"room": self.account.room}
            track = case.track
            if case.deflated:
                track = self._fought(case.guest, track)
                track = msgspec.structs.replace(track, cool_until=self.now + guard.DEFLATED_COOL_S)
            size = track.target + gain
            self._set(case.guest, track, size, self._why(case, size), numbers)

    def _offers(self, cases: list[Case]) -> list[tuple[Case, int]]:
        """What each would be given. What is too little for one of them is offered to the others."""
        # What runs needs it more than what is to come: need may be met out of a promise too.
        beyond = self.wishes.excess + self.account.promised
        room, cushion = self.account.room, self.account.cushion
        offers = list(zip(cases, granting.grants(cases, room, cushion, beyond, self.idle), strict=True))
        idle = [(case, size) for case, size in offers if self._is_of_no_use(case, page_floor(size))]
        if not 0 < len(idle) < len(cases):
            return offers
        left = {case.guest.key for case, _ in idle}
        others = [case for case in cases if case.guest.key not in left]
        sizes = granting.grants(others, room, cushion, beyond, self.idle)
        return [*idle, *zip(others, sizes, strict=True)]

    def _is_of_no_use(self, case: Case, size: int) -> bool:
        """It is offered something, and less than is worth a move."""
        gain = size - case.track.target
        return gain > 0 and not case.deflated and self._bars_grow(case, gain) is Reason.WAIT_ROOM

    def _why(self, case: Case, size: int) -> Reason:
        """The wish's reason, but of a guest outside the operator's bounds that they alone lead to `size`."""
        low, high = guard.bounds(case.guest, case.track)
        is_led = case.track.target > size >= high or case.track.target < size <= low
        return Reason.BOUNDS if is_led and not self.raw else case.wish.reason

    @staticmethod
    def _bars_grow(case: Case, gain: int) -> Reason | None:
        """Why a growth of `gain` bytes is not worth a move now, if it is not."""
        wish, target = case.wish, case.track.target  # below case.size
        if target < page_floor(min(case.guest.floor, case.guest.max)) <= target + gain:
            return None  # its floor is worth any move
        wanted, worth = case.size - target, pace.dead_band(case.guest)
        starves = target < wish.need + worth
        # One that lives on its headroom alone has hardly any cache, and would fill what it gets: little is of use too.
        if target >= wish.used and not (case.would_fill and target <= wish.urgent + worth):
            worth = max(worth, BACK_MIN, case.guest.max // BACK_PART)
        if wanted <= worth and (target >= wish.urgent or not starves):
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
    ) -> None:
        self._decisions[guest.key] = SetTarget(
            guest.key, guest.name, reason, numbers, before=track.target, size=size
        )
        self.moved[guest.key] = msgspec.structs.replace(
            track,
            target=size,
            before=min(track.before, track.target),
            ours=True,
            set_at=self.now,
            begun=guest.actual,
            reached=guest.actual <= size,
            below=0,
            asked_since=self.now if reason is Reason.DEFLATED else None,
            taken_from=None,
            asked_before=None,
        )

    def _stay(self, guest: Guest, track: Track, reason: Reason, wish: Wish | None = None) -> None:
        numbers: dict[str, int | float] = {}
        if wish is not None:
            numbers = {**wish.numbers, "wish": wish.size}
        self._decisions[guest.key] = Stay(guest.key, guest.name, reason, numbers, size=track.target)
        if track.asked_since is not None and reason is not Reason.WAIT_READING:
            self.moved[guest.key] = msgspec.structs.replace(track, asked_since=None)


def _shortage(account: Account) -> dict[str, int | float]:
    """What a shrink is for, in numbers."""
    numbers: dict[str, int | float] = {"room": account.room, "cushion": account.cushion}
    if account.available < account.reserve:
        numbers["below_reserve"] = account.reserve - account.available
    if account.promised:
        numbers["promised"] = account.promised
    return numbers
