"""Swap cache that no process maps: pages read ahead from swap, or written there and not yet let go.

It is charged to its control group and counted as used, though the kernel drops it without writing anything: after heavy
swapping it came to 300 MiB on a host whose guests had 2.3 GiB. The kernel counts swap cache with what is mapped of it;
what is not mapped are those pages on the anonymous lists that are neither mapped nor shared memory
(Documentation/filesystems/proc.rst, admin-guide/cgroup-v2.rst).
"""

from collections.abc import Mapping

import msgspec


class Lines(msgspec.Struct, frozen=True):
    """The names of the counters, in one of the files that have them."""

    listed: tuple[bytes, bytes]
    """Pages on the anonymous lists."""
    held: tuple[bytes, bytes]
    """Anonymous pages that are mapped, and shared memory."""
    cached: bytes
    """All of the swap cache."""


MEMINFO = Lines((b"Active(anon)", b"Inactive(anon)"), (b"AnonPages", b"Shmem"), b"SwapCached")
V1 = Lines(
    (b"total_active_anon", b"total_inactive_anon"), (b"total_rss", b"total_shmem"), b"total_swapcached"
)
V2 = Lines((b"active_anon", b"inactive_anon"), (b"anon", b"shmem"), b"swapcached")


def unmapped(counters: Mapping[bytes, int], lines: Lines) -> int:
    """Bytes of it; 0 where the kernel does not tell, as older ones do not in memory.stat."""
    if not counters.get(lines.cached) or lines.held[0] not in counters:
        return 0
    listed = sum(counters.get(name, 0) for name in lines.listed)
    held = sum(counters.get(name, 0) for name in lines.held)
    return min(counters[lines.cached], max(0, listed - held))
