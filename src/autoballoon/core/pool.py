"""The pool: what the host has for guests, and what they are charged (invariant I2)."""

from collections.abc import Mapping

import msgspec

from autoballoon.core.health import DRIVER_WAIT_S
from autoballoon.core.model import Guest, Snapshot
from autoballoon.core.track import OK, RESIDENT_SLACK, Health, Track, resident_of
from autoballoon.core.units import MIB, Portion

YOUNG_S = 60.0
YOUNG_OVERHEAD = 40 * MIB
"""What a young QEMU is charged at least beyond guest memory: its overhead is still growing (30 to 85 MiB under
TCG, measured on QEMU 7.2; device models and worker stacks alone take about 20)."""
OVERHANG_S = 10.0
"""What the host holds beyond a guest's size may be on its way back for so long: huge pages with holes are split
meanwhile."""


class Account(msgspec.Struct, frozen=True):
    """The host's books at one tick, in bytes."""

    capacity: int
    available: int
    reserve: int
    """Kept free for the host, never handed out."""
    other: int
    """What the host holds that is no guest's."""
    pool: int
    """capacity - reserve - other, and what guests hold beside the capacity: they are charged that too."""
    charges: int
    """The sum of what guests hold or have been promised."""
    cushion: int = 0
    """Wanted free for grants that cannot wait."""
    promised: int = 0
    """Promised to guests about to start; of it only what guests that run need may be taken."""
    unsure: tuple[str, ...] = ()
    """Names of guests charged at their maximum or held at what they have: the guarantee waits for them."""

    @property
    def room(self) -> int:
        """What could be granted now; negative when more is promised than there is."""
        return self.pool - self.charges - self.promised

    @property
    def guarantee(self) -> bool:
        """Guests that keep to their targets cannot make this host swap."""
        return self.charges <= self.pool

    @property
    def short(self) -> bool:
        """The host is short: half the cushion is used, or less is free than the reserve.

        A cushion that were refilled as soon as it is touched would move memory for every small growth.
        """
        return self.room < self.cushion // 2 or self.available < self.reserve


def overhead_of(guest: Guest) -> int:
    """What its QEMU takes beyond guest memory; unknown counts as 0 (it is then part of `other`)."""
    overhead = guest.overhead or 0
    if guest.up_s is not None and guest.up_s < YOUNG_S and guest.pid is not None:
        return max(overhead, YOUNG_OVERHEAD)
    return overhead


def charge_of(guest: Guest, track: Track) -> int:
    """Bytes of the pool that this guest holds or may take without asking (design: charge)."""
    held = max(track.target, guest.actual, guest.resident or 0)
    if track.health is OK:
        return overhead_of(guest) + held
    if track.health is Health.UNMANAGED:
        return overhead_of(guest) + resident_of(guest)
    if track.health is Health.INCOMING:
        return overhead_of(guest) + guest.max
    if track.pause is not None and not guest.running:
        # While we keep it stopped it cannot grow; what the host swaps of it is there for those that run.
        return overhead_of(guest) + resident_of(guest)
    if track.health in (Health.BOOTING, Health.NO_DRIVER):
        promised = guest.max if _is_unsure(track) else track.target
        return overhead_of(guest) + max(promised, guest.resident or 0)
    return overhead_of(guest) + held


def overhang_of(guest: Guest, track: Track, now: float) -> int:
    """What the host has long held of its memory beyond its size: nobody else can be given that.

    Its balloon frees nothing (VFIO, locked memory), or what lies in it is touched.
    """
    if guest.resident is None or now - track.moved_at < OVERHANG_S:
        return 0
    return max(0, guest.resident - RESIDENT_SLACK - max(track.target, guest.actual))


def coming_of(guest: Guest, track: Track, now: float) -> int:
    """Bytes of its charge that are on their way back: its balloon is still inflating to its target.

    Of one that does not obey the target follows the size, so nothing is on its way for long.
    """
    if not track.shrinking:
        return 0
    # Its driver is up, and its first reading is still to come.
    is_new = track.boots and track.health is Health.SILENT and now - track.since < DRIVER_WAIT_S
    if track.health is not OK and not is_new:
        return 0
    return max(track.actual, guest.resident or 0) - track.target


def heading_of(snapshot: Snapshot, tracks: Mapping[str, Track], now: float) -> int:
    """What all will be charged when they are where they were told to be."""
    return sum(charge_of(g, tracks[g.key]) - coming_of(g, tracks[g.key], now) for g in snapshot.guests)


def _is_unsure(track: Track) -> bool:
    boots = track.health is Health.BOOTING and (track.driverless or not track.ours)
    return boots or track.health in (Health.NO_DRIVER, Health.INCOMING)


def account_of(snapshot: Snapshot, tracks: Mapping[str, Track], reserve: Portion) -> Account:
    """The books for this snapshot; every guest has a track."""
    host = snapshot.host
    held = charges = beside = 0
    unsure: list[str] = []
    for guest in snapshot.guests:
        track = tracks[guest.key]
        held += resident_of(guest) + (guest.overhead or 0)
        charges += charge_of(guest, track)
        if not host.counts_huge:
            beside += guest.huge or 0
        if track.health is not OK and _is_unsure(track):
            unsure.append(guest.name)
    kept = reserve.of(host.capacity)
    other = max(0, host.capacity - host.available - (held - beside))
    return Account(
        capacity=host.capacity,
        available=host.available,
        reserve=kept,
        other=other,
        pool=max(0, host.capacity - kept - other + beside),
        charges=charges,
        promised=host.promised,
        unsure=tuple(unsure),
    )
