"""What the engine remembers of one guest from tick to tick: its last reading, its last move, its health."""

from enum import Enum

import msgspec

from autoballoon.core.model import Guest
from autoballoon.core.units import MIB

SLACK = 1 * MIB
"""Two sizes closer than this are the same: drivers move in chunks of 256 pages (Linux virtio_balloon.c)."""
RESIDENT_SLACK = 16 * MIB
"""Resident memory this far above `actual` is QEMU's own jitter, not memory that was kept back."""

GROW_WAIT_S = 3.0
"""A guest that has not taken what it was given by then does not want it now (deflating 320 MiB took 0.2 s), or was
never told: orders are lost where the wire is down, or another holds libvirt's job."""


LAND_S = 35.0
"""An order that nobody answered may be carried out as late as this: libvirt has it wait 30 s for a domain whose job
another has, which goes on sending statistics."""

GROWS = 8 * MIB
"""Bytes a second: a guest whose need rises faster than this is growing."""
FREE_MIN, FREE_PART = 48 * MIB, 16
"""A guest with no more free memory than this many bytes, or this part of its size, is full."""
STALLED = 0.05
"""A guest in which something waits for memory for a twentieth of the time runs short."""
STALL_S = 0.005
"""So long is somebody taken to wait who has to reclaim memory before he gets some (an allocation stall), in guests that
do not measure it. One that swapped under emulation measured 24 ms of waiting for each; other waiting is in that too."""


class Health(Enum):
    """May this guest be moved? Only OK guests are."""

    OK = "ok"
    BOOTING = "booting"
    NO_DRIVER = "no-driver"
    SILENT = "silent"
    STOPPED = "stopped"
    INCOMING = "incoming"
    UNMANAGED = "unmanaged"


OK = Health.OK
"""Each step asks every guest for it several times: a name is found in a fifth of the time of an Enum's member."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """The guest's statistics of one moment, with the size it had then."""

    taken_at: float
    actual: int
    available: int
    caches: int
    swap_in: int | None
    swap_out: int | None
    growth: float = 0.0
    """How fast its need has risen since the reading before, bytes a second; negative when it fell."""
    settled_since: float = -1e9
    """When it last became smaller: while a balloon inflates, sizes and statistics do not belong together."""
    free: int | None = None
    """Bytes that hold nothing at all; None where the guest does not tell."""
    major_faults: int | None = None
    refaults: int | None = None
    faulting: float = 0.0
    """Bytes a second that it had to read from disk since the reading before: major faults, or cache that it had dropped
    (refaults, where a guest side tells them), a page each."""
    psi_some_s: float | None = None
    stalled: float = 0.0
    """The part of the time since the reading before in which something in it waited for memory; 0 where untold, and 1
    where its kernel has killed for want of memory meanwhile."""
    alloc_stalls: int | None = None
    oom_kills: int | None = None
    swapped: int = 0
    """Bytes that it put into swap of its own lately (halved every SWAPPED_FADE_S), less what came back since; at first
    contact, what a guest side says lies there."""
    exchanged: int = 0
    """Bytes that came in from its own swap for as many that went out, lately (halved every EXCHANGED_FADE_S)."""

    @property
    def missed(self) -> int:
        """Memory that it misses although it may show some free: what it has had to put into swap of its own.

        Without a guest side what went out is known only since we look; what it exchanges for as much again tells of
        what went out before.
        One that has memory free exchanges nothing any more: what it misses comes in there.
        """
        if not (self.swapped or self.exchanged):
            return 0  # nearly always
        return max(self.swapped, self.exchanged - (self.free or 0))

    @property
    def need(self) -> int:
        """Bytes it cannot give back without swapping: logical size less what it reports as available.

        Holds in both accounting modes: with feature bit 2 ballooned pages count as used and `total` stays,
        without it `total` shrinks; either way `available` is the part of `actual` that is not in use. What the
        guest's kernel holds outside `total` (about 20 MiB of 512) is counted as need, as it should be.
        """
        in_use = self.actual - self.available
        return in_use + self.missed if self.swapped or self.exchanged else in_use

    @property
    def waits(self) -> bool:
        """Something in it waits for memory: it runs short, whatever it shows as available."""
        return self.stalled >= STALLED

    @property
    def grows(self) -> bool:
        """Its need rises fast enough for what lies free in it not to do so for long."""
        return self.growth > GROWS

    @property
    def is_full(self) -> bool:
        """Little lies free in it, so that more would be of use; a guest that does not tell is taken to be full."""
        return self.free is None or self.free <= FREE_MIN or self.free <= self.actual // FREE_PART


class Pause(msgspec.Struct, frozen=True):
    """We have stopped the guest: load control."""

    pid: int
    """The QEMU process that we stopped: another one at the same key is not ours to resume."""
    at: float
    need: int
    """What it needed when it was stopped, bytes; its statistics are silent meanwhile."""
    seen: bool = False
    """It has been seen stopped since."""
    resumed_at: float | None = None
    """When it was last told to run again ..."""
    called_at: float | None = None
    """... and when for the first time."""
    is_orphan: bool = False
    """A daemon before this one stopped it: nothing is known of it, and it is to run again at once."""


class Track(msgspec.Struct, frozen=True, gc=False):
    """One guest's history, as far as decisions need it."""

    target: int
    """What it was last asked to be; its actual size until we have asked for anything."""
    before: int
    """The target before that, until it is known to have arrived at this one; the lowest, where there were several
    meanwhile. Below both, somebody else has made it smaller."""
    actual: int
    health: Health
    ours: bool = False
    """We have set a target in this life of the guest."""
    reached: bool = True
    """It has been at (or below) the target since that was set."""
    set_at: float = -1e9
    changed_at: float = -1e9
    """When its actual size was last seen to change."""
    fell_at: float = -1e9
    """When it was last seen to have become smaller."""
    rose_at: float = -1e9
    """When it was last seen to have become larger."""
    since: float = 0.0
    """When this life of it (since start or reset) began; later by as long as it stood still without its driver."""
    up_s: float = 0.0
    driverless: bool = False
    """It was reset before its driver was up, and none has been up since: it may have none, and take all that it has."""
    max: int = 0
    """Its configured RAM, as last seen."""
    reading: Reading | None = None
    cool_until: float = -1e9
    """No shrink before this time."""
    adopted: int | None = None
    """A size that somebody else set: its ceiling until `unhold`."""
    boots: bool = False
    """It was seen booting, and has given no reading since."""
    grace_until: float = -1e9
    """It has just booted, and its programs may still be on their way until then."""
    begun: int = 0
    """Its size when its target was last set: how far a shrink has come since."""
    learnt: int = 0
    """The size for which it fought: it took memory back, could not give what was asked, or waited for memory."""
    learnt_at: float = -1e9
    beyond: int = 0
    """By how much that was more than what it seemed to need, then and since: what it needs and does not say, bytes."""
    met_at: float = -1e9
    """When this life of it was first seen."""
    taken_from: int | None = None
    """The size at which it stood until somebody else made it smaller; we have never moved it."""
    asked_before: int | None = None
    """What QEMU still has its driver go for: asked by a daemon before us, or by us before it was reset, which QEMU does
    not forget. It may go there until we ask for anything."""
    below: int = 0
    """Readings in a row in which it had become smaller than anything we asked for."""
    ok_since: float = -1e9
    """When it last became OK: a driver that has just come up is not stuck yet."""
    asked_since: float | None = None
    """A shrink has been wanted since then, and waits for a fresh reading."""
    refuses: bool = False
    """It kept what it was asked for though it had it to give; until a shrink comes to its end."""
    paced_at: float = -1e9
    """When it was last shrunk although the host was not short."""
    migrating: bool = False
    """It is being migrated away."""
    pause: Pause | None = None
    """Set while it is stopped by us; None while it runs, and when somebody else stopped it."""
    pid: int | None = None
    """The verified QEMU process, as last seen."""
    spared_until: float = -1e9
    """Not to be stopped by us before then: somebody let it run, or it could not be stopped."""

    @property
    def moved_at(self) -> float:
        """When it last moved or was last told to; a reading from before is no ground for a shrink."""
        return max(self.set_at, self.changed_at)

    @property
    def shrinking(self) -> bool:
        """A shrink is under way."""
        return self.actual > self.target + SLACK

    def plugged(self, size: int) -> int:
        """Bytes of RAM that were plugged in (negative: out) if it has `size` now; its target goes along with them."""
        return size - self.max if self.max else 0

    @property
    def lags(self) -> bool:
        """It has less than it was given, and nobody else seems to have made it smaller."""
        return self.actual < self.target - SLACK and not self.below

    def growing(self, now: float) -> bool:
        """A grow is under way, or the guest has let it lie for no more than GROW_WAIT_S."""
        return self.actual < self.target - SLACK and now - self.set_at < GROW_WAIT_S

    def unheard(self, now: float) -> bool:
        """It was given more, has stood still for GROW_WAIT_S, and shows no sign that somebody else made it smaller."""
        return self.lags and now - self.moved_at >= GROW_WAIT_S and self.fresh()

    def fresh(self) -> bool:
        """Its last reading was taken after its last move (invariant I3)."""
        return self.reading is not None and self.reading.taken_at > self.moved_at


def resident_of(guest: Guest) -> int:
    """Guest memory that the host holds; where that cannot be seen, the guest's whole size."""
    return guest.actual if guest.resident is None else guest.resident
