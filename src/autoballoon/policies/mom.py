"""mom: the ballooning rule of oVirt's Memory Overcommitment Manager (oVirt/mom: balloon.rules, mom-balloon.conf).

Every 10 s: on a host with less than a fifth free every guest shrinks, at most by 5 %; otherwise every guest grows, at
least by 5 %. What a guest uses is its size less its unused memory, so page cache counts as used.

Averages are over ten samples, one each 5 s; so this policy looks every 5 s, and decides at every second look.

What stands in for what: MemFree + Buffers + Cached of the host is `available`, MemTotal the capacity; mem_unused is
`free`, and a guest that does not report it is left alone and keeps its samples, as in MOM one whose collectors have no
data; balloon_min and balloon_max are floor and ceiling. libvirt's balloon_min is 0 unless somebody sets it; ours is the
operator's floor, as I1 would have it anyway.
"""

from collections.abc import Mapping
from statistics import fmean

import msgspec

from autoballoon.core.model import Guest
from autoballoon.core.policy import Sight, Watch, Wish, Wishes
from autoballoon.policies.published import answering, rule_wish

SAMPLE_S, SAMPLES = 5.0, 10
"""guest-monitor-interval and host-monitor-interval; sample-history-length."""
CYCLE_S = 10.0
"""policy-engine-interval."""
PRESSURE, CRITICAL = 0.20, 0.05
"""Parts of the host free, below which it is short, and at which it is critically short."""
GUEST_FREE = 0.20
"""Part of a guest that is free where memory is plenty."""
CHANGE_MOST = 0.05
CHANGE_LEAST = 0.0025
"""Parts of a guest's size: how fast it shrinks at most (and grows at least), and what is too little to do."""


class Sampled(msgspec.Struct, frozen=True):
    """One guest at one sample, bytes."""

    size: int
    unused: int


class Memory(msgspec.Struct, frozen=True):
    """The samples, oldest first, and what was wished at the last decision."""

    host_free: tuple[int, ...] = ()
    guests: Mapping[str, tuple[Sampled, ...]] = {}
    decided_at: float = -1e9
    wishes: Mapping[str, Wish] = {}


class Mom:
    """The rule of MOM."""

    name = "mom"
    every_s = SAMPLE_S
    raw = True
    watch = Watch()

    def start(self) -> Memory:
        """No samples yet; averages are over those there are."""
        return Memory()

    def wish(self, memory: Memory, sight: Sight, now: float) -> Wishes:
        """Sizes for the guests whose change is large enough; between two decisions, those of the last one."""
        guests = {guest.key: guest for guest in answering(sight)}
        new = {
            key: (*memory.guests.get(key, ()), Sampled(guest.actual, guest.free))[-SAMPLES:]
            for key, guest in guests.items()
            if guest.free is not None
        }
        there = {guest.key for guest in sight.snapshot.guests}
        samples = {key: kept for key, kept in memory.guests.items() if key in there} | new
        host_free = (*memory.host_free, sight.snapshot.host.available)[-SAMPLES:]
        decided_at, wishes = memory.decided_at, memory.wishes
        if now - decided_at >= CYCLE_S - SAMPLE_S / 2:
            decided_at = now
            free = fmean(host_free) / max(1, sight.snapshot.host.capacity)
            sizes = {key: decide(guests[key], samples[key], free) for key in new}
            wishes = {
                key: rule_wish(size, host_free=round(fmean(host_free)))
                for key, size in sizes.items()
                if size is not None
            }
        return Wishes(memory=Memory(host_free, samples, decided_at, wishes), wishes=wishes)


def decide(guest: Guest, samples: tuple[Sampled, ...], host_free: float) -> float | None:
    """The size that the rule gives the guest with this part of the host free; None leaves it as it is."""
    used = fmean(sample.size for sample in samples) - fmean(sample.unused for sample in samples)
    short = host_free < PRESSURE
    part = guest_part(host_free) if short else GUEST_FREE
    least = max(guest.floor, used + part * guest.actual)
    if short:
        size = max(guest.actual * (1 - CHANGE_MOST), least)
        worth = size <= guest.actual
    else:
        size = min(max(guest.actual * (1 + CHANGE_MOST), least), guest.top)
        worth = guest.actual < guest.top
    return size if worth and abs(size - guest.actual) > CHANGE_LEAST * guest.actual else None


def guest_part(host_free: float) -> float:
    """Part of a guest that may be free on a short host; negative on a critically short one, so that it swaps."""
    if host_free <= CRITICAL:
        return host_free - 0.05
    return GUEST_FREE * host_free / PRESSURE
