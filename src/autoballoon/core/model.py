"""The one schema: what was seen (Snapshot) and what is to be done (Decision).

Bytes and seconds; None means unknown, never 0. Counters are cumulative, and the engine differences them.
Everything here has been checked and bounded by the layer that read it: the engine may trust the types and
the ranges, not the truth of what a guest reported.

What there is for each guest has gc=False, here and in the rest of the core: a frozen value is never part of a cycle,
and the collector need not go through ten thousand of them (`make bench`).
"""

from collections import Counter
from collections.abc import Sequence
from enum import Enum

import msgspec


class Host(msgspec.Struct, frozen=True):
    """The host, or the control group that limits the guests."""

    capacity: int
    """Bytes that the host or its group may hold at all."""
    available: int
    """Bytes of the capacity that could be used now without swapping (free, and clean file cache)."""
    swap_in: int | None = None
    """Bytes swapped in since boot (pswpin + zswpin + swpin_zero)."""
    swap_out: int | None = None
    psi_some_s: float | None = None
    """Seconds in which some task waited for memory, since boot (PSI `some total`)."""
    psi_full_s: float | None = None
    counts_huge: bool = True
    """Whether huge pages set aside (hugetlbfs) are part of the capacity: of a control group's they are not."""
    promised: int = 0
    """Bytes that the operator promised to guests about to start (`autoballoon room`)."""


class Guest(msgspec.Struct, frozen=True, gc=False):
    """One guest at one moment."""

    key: str
    """What identifies it as long as it runs: the QMP socket's path, or libvirt URI and UUID."""
    name: str
    max: int
    """Configured RAM, base and plugged, in bytes: as large as the guest can be."""
    actual: int
    """Its logical size now, bytes (QMP `query-balloon`)."""
    floor: int = 0
    ceiling: int = 0
    """The operator's bounds in bytes; a ceiling of 0 means `max`."""
    shares: int = 1000
    headroom: int | None = None
    """The most that it may claim beyond its need for what it may need soon, bytes; None means a quarter of `max`."""
    pid: int | None = None
    """The verified QEMU process; None also means that nothing of the host's own view is known."""
    running: bool = True
    managed: bool = True
    """False: left alone, and counted at what it holds."""
    held: bool = False
    """The operator holds it (`autoballoon hold`): it may grow, and is not made smaller."""
    may_suspend: bool = False
    """The operator allows that it is stopped for a while when needs exceed the host (`overload = "suspend"`)."""
    age_s: float | None = None
    """Seconds since the statistics' timestamp was seen to change; None: no statistics yet."""
    up_s: float | None = None
    """Seconds since QEMU started or the guest was last reset, as far as known."""
    driver: bool | None = None
    """Whether the guest's balloon driver is up; None where QEMU cannot tell."""
    incoming: bool = False
    """An incoming migration or restore that has not begun to run."""
    migrating: bool = False
    """It is being migrated away: it still runs here, and must not be made smaller meanwhile."""
    deflates_itself: bool | None = None
    """Feature bit 2 (DEFLATE_ON_OOM) was negotiated: the guest may take memory back by itself."""
    period_s: int | None = None
    """Between two of QEMU's requests for statistics. Nothing is decided by it; doctor says where it is too long."""

    # What the balloon's statistics report (virtio 1.2, section 5.5.6.4); advice, bounded to 0..max.
    total: int | None = None
    available: int | None = None
    free: int | None = None
    caches: int | None = None
    swap_in: int | None = None
    swap_out: int | None = None
    major_faults: int | None = None

    # The host's own view of the QEMU process.
    resident: int | None = None
    """Guest memory that the host holds in RAM, bytes."""
    huge: int | None = None
    """What of it lies on huge pages set aside (hugetlbfs)."""
    swapped: int | None = None
    overhead: int | None = None
    """What QEMU takes beyond guest memory: anonymous memory and page tables, a high-water mark."""

    # Only a guest side (agent, qemu-guest-agent) knows these; None when its last word is older than a few seconds.
    # The last two are in the balloon's statistics of Linux 6.12 too.
    swap_total: int | None = None
    """Bytes of swap that the guest has of its own. The guest side leaves zram out: what it holds stays in RAM."""
    swap_used: int | None = None
    refaults: int | None = None
    psi_some_s: float | None = None
    psi_full_s: float | None = None
    alloc_stalls: int | None = None
    oom_kills: int | None = None

    @property
    def top(self) -> int:
        """The largest size that the operator allows, bytes."""
        return min(self.ceiling, self.max) if self.ceiling else self.max

    @property
    def most_headroom(self) -> int:
        """The operator's bound on its headroom, bytes."""
        return self.max // 4 if self.headroom is None else self.headroom


class Snapshot(msgspec.Struct, frozen=True):
    """All that is known at one tick."""

    host: Host
    guests: tuple[Guest, ...] = ()


def told_apart(guests: Sequence[Guest]) -> list[Guest]:
    """The guests, those that share a name with another as NAME@key."""
    names = Counter(guest.name for guest in guests)
    return [
        guest if names[guest.name] == 1 else msgspec.structs.replace(guest, name=f"{guest.name}@{guest.key}")
        for guest in guests
    ]


class Reason(Enum):
    """Why a target moved, or did not. The value is the word used in JSON; views/sentences.py has the sentence."""

    __hash__ = object.__hash__  # each is one object, and Enum's own hash is slow

    # It moves.
    BOOT = "boot"
    """A size to start with, set before the driver is up."""
    NEED = "need"
    """It runs short: it gets what it needs and room to grow."""
    AGAIN = "again"
    """It runs short and stands still below what it was given: the order may be lost, and it is told again."""
    GIVE_BACK = "give-back"
    """The pool has room: it may hold more cache or free memory again."""
    TAKE_SURPLUS = "take-surplus"
    """Free memory that it does not use."""
    TAKE_COLD_CACHE = "take-cold-cache"
    TAKE_LATELY = "take-lately"
    """Memory that it needed not long ago, and does not need now."""
    TAKE_WARM_CACHE = "take-warm-cache"
    TAKE_HEADROOM = "take-headroom"
    TAKE_NEED = "take-need"
    """Overload, and the operator chose that guests swap."""
    SQUEEZE = "squeeze"
    """It is about to be stopped: what it does not need is taken while it can still give."""
    BOUNDS = "bounds"
    """It lay outside the operator's floor and ceiling, and is led back."""
    STUCK = "stuck"
    """It did not give up what was asked: its target goes back to its size."""
    DEFLATED = "deflated"
    """It took memory back by itself: its target follows."""
    MANUAL = "manual"
    """Somebody else set a smaller size: that is its ceiling now."""
    FAREWELL = "farewell"
    """The daemon leaves and hands memory back."""
    RULE = "rule"
    """A baseline policy's published rule."""

    # It is stopped, or runs again: load control.
    OVERLOAD = "overload"
    """Needs exceed the pool: it is stopped so that those that run fit."""
    TURN_OVER = "turn-over"
    """It has had its turn, and another one waits."""
    TURN = "turn"
    """Its turn has come."""
    ROOM = "room"
    """There is room for it again."""
    RELEASE = "release"
    """It may not be stopped any more (the configuration changed, its daemon ended), or could not be."""

    # It stays.
    SETTLED = "settled"
    SMALL = "small"
    """The wish lies within the dead band."""
    PACED = "paced"
    """The host is not short, so it shrinks slowly."""
    NEW = "new"
    """The host is not short, and its readings have not come for long enough yet."""
    WAIT_READING = "wait-reading"
    """No shrink without a reading taken after the last move."""
    WAIT_MOVE = "wait-move"
    """A shrink is under way."""
    WAIT_ROOM = "wait-room"
    """What it is to get is not free yet."""
    MIGRATING = "migrating"
    """It is being migrated away: no shrink, and one that was under way is called off."""
    COOL_DOWN = "cool-down"
    """It fought the last shrink: no other for a while."""
    SILENT = "silent"
    """Its statistics are old or missing: it keeps what it holds."""
    BOOTING = "booting"
    NO_DRIVER = "no-driver"
    STOPPED = "stopped"
    WAIT_TURN = "wait-turn"
    """We have stopped it, and others run."""
    INCOMING = "incoming"
    UNMANAGED = "unmanaged"
    HELD = "held"
    """The operator holds it: it is not made smaller."""
    HELD_BACK = "held-back"
    """The move would have broken an invariant: a defect of ours."""


class Decision(msgspec.Struct, frozen=True, gc=False, tag_field="kind"):
    """What is to be done with one guest, and why; a closed union of the four below."""

    key: str
    guest: str
    """The guest's name, for people."""
    reason: Reason
    numbers: dict[str, int | float]
    """What the reason was made of: bytes (no suffix), seconds (`_s`)."""


class SetTarget(Decision, frozen=True, gc=False, tag="set-target"):
    """Ask the guest to become `size` bytes large; its target was `before`."""

    before: int
    size: int


class Suspend(Decision, frozen=True, gc=False, tag="suspend"):
    """Stop the guest's processors: load control."""


class Resume(Decision, frozen=True, gc=False, tag="resume"):
    """Let a guest run that we stopped."""


class Stay(Decision, frozen=True, gc=False, tag="stay"):
    """Leave the guest at `size` bytes."""

    size: int


AnyDecision = SetTarget | Suspend | Resume | Stay
