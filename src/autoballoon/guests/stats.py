"""What a guest reports through its balloon, checked and bounded before anyone believes a number of it."""

import msgspec

from autoballoon.core.units import MIB

MISSING = 2**64 - 1
"""How QEMU shows a statistic that the driver did not send (hw/virtio/virtio-balloon.c, reset_stats)."""

SLACK = 64 * MIB
"""Bytes that a reported total may lie above the configured RAM: memory just plugged, of which we have not heard."""


class Nonsense(Exception):
    """A reading that no honest guest can send; its text says what is wrong with it."""


class Reading(msgspec.Struct, frozen=True):
    """One set of balloon statistics (virtio 1.2, section 5.5.6.4): bytes, counters since the guest's boot.

    The total stays near the configured RAM where DEFLATE_ON_OOM was negotiated and follows the balloon where it was
    not, so it is not compared with `actual`. `free` may exceed `available` in an idle guest (measured, Linux 6.1).
    """

    last_update: int
    """QEMU's wall clock in whole seconds, 0 for never; good for telling readings apart, not for an age."""
    total: int | None = None
    available: int | None = None
    free: int | None = None
    caches: int | None = None
    swap_in: int | None = None
    swap_out: int | None = None
    major_faults: int | None = None
    minor_faults: int | None = None
    oom_kills: int | None = None
    """These two come from Linux 6.12 on, through QEMU 9.2 or newer; virtio 1.2 does not know them. Pages scanned and
    reclaimed, which come with them, are not read: a guest that reads files has its cache scanned and reclaimed all the
    time, whether it lacks memory or not."""
    alloc_stalls: int | None = None

    def counts_from_before(self, earlier: "Reading") -> bool:
        """Whether no counter fell since `earlier`: the guest has not booted in between."""
        pairs = (
            (earlier.swap_in, self.swap_in),
            (earlier.swap_out, self.swap_out),
            (earlier.major_faults, self.major_faults),
            (earlier.minor_faults, self.minor_faults),
            (earlier.oom_kills, self.oom_kills),
            (earlier.alloc_stalls, self.alloc_stalls),
        )
        return all(old is None or new is None or old <= new for old, new in pairs)


def check(reply: object, ram: int) -> Reading:
    """The reading in QEMU's answer for `guest-stats` of a guest with `ram` bytes; Nonsense when it cannot be true."""
    if not isinstance(reply, dict) or not isinstance(reply.get("stats"), dict):
        raise Nonsense("its statistics have not the form that QEMU gives them")
    last_update = _whole("last-update", reply.get("last-update"))
    if not last_update:
        return Reading(last_update=0)
    stats = reply["stats"]

    def number(tag: str) -> int | None:
        value = _whole(tag, stats.get(f"stat-{tag}", MISSING))
        return None if value == MISSING else value

    total, available = number("total-memory"), number("available-memory")
    if total is not None and not 0 < total <= ram + SLACK:
        raise Nonsense(f"it reports {total} bytes of memory in all and was given {ram}")
    whole = ram if total is None else total
    if available is not None and available > whole:
        raise Nonsense(f"it reports {available} bytes available of {whole}")
    return Reading(
        last_update=last_update,
        total=total,
        available=available,
        free=_at_most(whole, number("free-memory")),
        caches=_at_most(whole, number("disk-caches")),
        swap_in=number("swap-in"),
        swap_out=number("swap-out"),
        major_faults=number("major-faults"),
        minor_faults=number("minor-faults"),
        oom_kills=number("oom-kills"),
        alloc_stalls=number("alloc-stalls"),
    )


def _whole(tag: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MISSING:
        raise Nonsense(f"its {tag} is not a number of 64 bits")
    return value


def _at_most(bound: int, value: int | None) -> int | None:
    return None if value is None else min(value, bound)
