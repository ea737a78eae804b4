"""Promises: memory of the pool that is kept for guests about to start (`autoballoon room`).

A promise is a claim like any other: the books leave it out of what may be granted (pool.Account.room), the ladder hands
it out after headroom and before the cushion. What guests that run need goes before it. It ends when a guest that it
was made for is seen, when it was not made in time, or when nobody has used it in time.
"""

from collections.abc import Container, Iterable, Mapping, Sequence

import msgspec

from autoballoon.core.model import Guest, Snapshot
from autoballoon.core.policy import Wish
from autoballoon.core.pool import Account, charge_of, overhead_of
from autoballoon.core.track import Track
from autoballoon.core.units import names_text, size_text


class Promise(msgspec.Struct, frozen=True):
    """Room asked for, bytes. Times are monotonic seconds."""

    id: int
    size: int
    name: str | None
    """The guest that it is for; None: whichever comes next."""
    until: float
    """It ends then, made or not."""
    keep_s: float
    """So long it is kept once it is made."""
    is_made: bool = False

    def kept_from(self, now: float) -> "Promise":
        """It is made, and kept from now on."""
        return msgspec.structs.replace(self, is_made=True, until=now + self.keep_s)

    def suits(self, guest: Guest) -> bool:
        """Whether this guest is the one, or one of those, that it is for; of two of one name each is."""
        return self.name is None or guest.name == self.name or guest.name.startswith(f"{self.name}@")


def promised(snapshot: Snapshot, promises: Iterable[Promise]) -> Snapshot:
    """The snapshot with the promises in it, as the engine is to see it."""
    total = sum(promise.size for promise in promises)
    if total == snapshot.host.promised:
        return snapshot
    return msgspec.structs.replace(snapshot, host=msgspec.structs.replace(snapshot.host, promised=total))


def used(promises: Sequence[Promise], known: Container[str], guests: Iterable[Guest]) -> frozenset[int]:
    """The promises that are used: each by one guest that was not `known` (by key) before, those with a name first."""
    found: set[int] = set()
    for guest in guests:
        if guest.key in known:
            continue
        fits = [one for one in promises if one.id not in found and one.suits(guest)]
        if fits:
            found.add(min(fits, key=lambda one: (one.name is None, one.id)).id)
    return frozenset(found)


def made(promises: Sequence[Promise], account: Account) -> dict[int, int]:
    """Bytes that there are for each promise, the oldest first: neither held by guests nor theirs to take."""
    left = max(0, min(account.pool - account.charges, account.available - account.reserve))
    there = {}
    for promise in promises:
        there[promise.id] = min(promise.size, left)
        left -= there[promise.id]
    return there


def shortfall(
    snapshot: Snapshot,
    tracks: Mapping[str, Track],
    wishes: Mapping[str, Wish],
    account: Account,
    missing: int,
) -> str:
    """Why `missing` bytes could not be had, as the end of a sentence."""
    names = {guest.key: guest for guest in snapshot.guests}
    owing = sorted(
        (
            (charge_of(names[key], tracks[key]) - overhead_of(names[key]) - wish.size, key)
            for key, wish in wishes.items()
            if key in names and key in tracks
        ),
        reverse=True,
    )
    owed = sum(max(0, more) for more, _ in owing)
    if owed >= missing // 2 and owing:
        told = ", ".join(f"{names[key].name} ({size_text(more)})" for more, key in owing[:3] if more > 0)
        return f"guests have not given back in time what they do not need: {told}"
    fills = f"what guests need, with headroom and floors, fills the pool of {size_text(account.pool)}"
    stay = [guest.name for guest in snapshot.guests if guest.held or guest.key not in wishes]
    if not stay:
        return fills
    return f"{fills}, as does what those keep that are held or cannot be moved: {names_text(stay, 3)}"
