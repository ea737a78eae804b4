"""Taking: how much memory is taken from whom in this step.

While the host is short, only what is missing is taken, and from where it hurts least: a guest's surplus before
anybody's cold cache, that before warm cache, need last. While it is not, its cushion is filled up with what is free
in guests. What belongs to another by its shares, and nobody waits for, goes there slowly.
"""

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter

import msgspec

from autoballoon.core import guard, pace
from autoballoon.core.case import Case
from autoballoon.core.model import Reason, Snapshot
from autoballoon.core.policy import Wishes
from autoballoon.core.pool import Account, coming_of
from autoballoon.core.track import Track
from autoballoon.core.units import MIB

STEP_MIN = 32 * MIB
"""A shrink is worth at least this, where there is so much to take."""
IDLE_STEP_MIN, IDLE_PART = 64 * MIB, 8
"""... and of what lies idle, surplus and cold cache, at least this or an eighth of the guest: every move costs."""


GROWS_HURTS = 3
"""What lies idle in a guest that grows hurts as much as the warm cache of another: it would be asked back at once."""
_SOON = (None, Reason.WAIT_READING)
"""Who waits for a fresh reading will give what is asked in a moment: nobody else is shrunk in its stead."""


class Take(msgspec.Struct, frozen=True, gc=False):
    """What is to be done with one guest that would shrink."""

    case: Case
    size: int
    """Bytes it is to have, where nothing bars it."""
    bar: Reason | None
    """Why it stays as it is for now."""
    paced: bool = False
    """It is taken slowly, though nobody waits for it."""


class Shortage(msgspec.Struct, frozen=True, gc=False):
    """What the host and its guests are short of, bytes, less what is on its way back."""

    band: int
    """A guest that has no more than this to give is left alone: less where somebody lacks what it needs."""
    refill: int
    """What the cushion is short of."""
    missing: int | None
    """What may be taken from whatever hurts least; None while the host is not short."""
    idle: int = 0
    """What may be taken, for others' warm cache too, from what lies idle."""
    starving: int = 0
    """What guests need and nobody has given yet: where those who have more than the band to give have not so much,
    the others give too."""


def shortage(
    snapshot: Snapshot, tracks: Mapping[str, Track], account: Account, wishes: Wishes, now: float
) -> Shortage:
    """Short is a host of whose cushion half is used, or will be when guests get what they lack, or where a guest
    lacks memory for its warm cache."""
    lacking = starving = cold = 0
    for key, wish in wishes.wishes.items():
        track = tracks.get(key)
        if track is None:
            continue  # it has gone since the policy looked
        target = track.target
        if wish.urgent > target:
            lacking += wish.urgent - target
            starving += max(0, wish.need - target)
            target = wish.urgent
        lack = wish.used - target
        if lack > pace.SHORT_DEAD_BAND:
            cold += lack
    coming = sum(coming_of(guest, tracks[guest.key], now) for guest in snapshot.guests)
    refill = account.cushion - account.room - coming
    enough = account.room - lacking >= account.cushion // 2
    if not account.short and enough and cold == 0:
        return Shortage(pace.SHORT_DEAD_BAND, refill, None)
    band = pace.NEED_DEAD_BAND if lacking or account.short else pace.SHORT_DEAD_BAND
    starving -= max(0, account.room) + coming
    return Shortage(band, refill, refill + lacking, refill + lacking + cold, starving)


def takes(cases: Iterable[Case], short: Shortage, now: float, filled: int) -> Iterator[Take]:
    """One Take for each case. `filled`: bytes that other guests would fill with cache, if they could have them."""
    rest, coming = [], 0
    for case in cases:
        if case.wish.at_once:
            bar = guard.bars_shrink(case.track, now)
            coming += case.gap if bar in _SOON else 0
            yield Take(case, case.size, bar)
        else:
            rest.append(case)
    if short.missing is None:
        yield from _refill(rest, short.refill - coming, filled, now)
        return
    missing, idle = short.missing - coming, short.idle - coming
    band = short.band
    if short.starving > coming + sum(case.gap for case in rest if case.gap > band):
        band = pace.STARVING_DEAD_BAND
    for case in sorted(rest, key=lambda case: (case.hurts + GROWS_HURTS * case.grows, -case.gap)):
        is_idle = case.is_idle
        wanted = idle if is_idle else missing
        if wanted <= 0 and case.gap > pace.worth(case.guest, case.track, now):
            yield _slowly(case, 0, now)
            continue
        taken = min(case.gap, max(wanted, _step(case) if is_idle else STEP_MIN))
        small = wanted <= 0 or case.gap <= band
        bar = Reason.SMALL if small else guard.bars_shrink(case.track, now)
        if bar in _SOON:
            missing, idle = missing - taken, idle - taken
        yield Take(case, case.track.target - taken, bar)


def _step(case: Case) -> int:
    return max(IDLE_STEP_MIN, case.guest.max // IDLE_PART)


def _refill(cases: list[Case], wanted: int, filled: int, now: float) -> Iterator[Take]:
    """What the cushion is short of is taken at once where it lies free; what others would fill, slowly."""
    for spare, case in _by_spare(cases) if wanted > 0 else ((0, case) for case in cases):
        step = _step(case)
        if wanted <= 0 or spare < step or case.grows:
            take = _slowly(case, filled + max(0, wanted), now)
            filled -= case.track.target - take.size if take.bar in _SOON else 0
        else:
            bar, taken = guard.bars_shrink(case.track, now), min(spare, max(wanted, step))
            wanted -= taken if bar in _SOON else 0
            take = Take(case, case.track.target - taken, bar)
        yield take


def _by_spare(cases: list[Case]) -> list[tuple[int, Case]]:
    """The cases with what each has to spare, the most first."""
    return sorted(((case.spare, case) for case in cases), key=itemgetter(0), reverse=True)


def _slowly(case: Case, wanted: int, now: float) -> Take:
    """A step towards its wish, sooner where others have a use for `wanted` bytes, or it has more than it may have."""
    if case.grows:
        return Take(case, case.track.target, Reason.PACED)
    soon = wanted > 0 or case.track.target > guard.bounds(case.guest, case.track)[1]
    size, bar = pace.paced_shrink(case.guest, case.track, case.size, now=now, wanted=soon)
    return Take(case, size, bar or guard.bars_shrink(case.track, now), paced=True)
