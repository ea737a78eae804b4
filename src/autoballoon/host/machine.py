"""The machine's own memory, swap traffic and pressure, from /proc."""

import os
import re
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import KIB
from autoballoon.host import swapcache
from autoballoon.host.files import KeptFile, fields, kib_fields, read_if_there

_AVAILABLE = re.compile(rb"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)
_ARC = re.compile(rb"^(size|c_min)\s+\d+\s+(\d+)$", re.MULTILINE)
_PSI = re.compile(rb"^(some|full) .*\btotal=(\d+)$", re.MULTILINE)

SWAPPED_IN = (b"pswpin", b"zswpin", b"swpin_zero")
"""Pages in /proc/vmstat by where they come from: a device, zswap, nowhere (since Linux 6.12 a page of zeros is only
marked, and counted so). No page is in two of them."""
SWAPPED_OUT = (b"pswpout", b"zswpout", b"swpout_zero")


class Machine:
    """MemTotal and what of it could be used without swapping, in bytes. CouldNot without /proc/meminfo."""

    def __init__(self, root: Path) -> None:
        self._meminfo = KeptFile(root / "proc/meminfo")
        self._vmstat = root / "proc/vmstat"
        self._arcstats = root / "proc/spl/kstat/zfs/arcstats"
        self._more = 0
        """Bytes that MemAvailable leaves out, when last fully read."""
        self.total, _ = self.read()

    def read(self) -> tuple[int, int]:
        """MemTotal and the memory available now; available is never more than the total.

        MemAvailable, and what it leaves out: what ZFS's cache would give back, which is no page cache, and the part of
        the swap cache that nobody maps.
        """
        meminfo = kib_fields(self._meminfo.read())
        self._more = _reclaimable_arc(read_if_there(self._arcstats) or b"")
        self._more += swapcache.unmapped(meminfo, swapcache.MEMINFO)
        try:
            self.total = meminfo[b"MemTotal"]
            return self.total, min(meminfo[b"MemAvailable"] + self._more, self.total)
        except KeyError as error:
            raise CouldNot(
                f"{self._meminfo.path} has no {error.args[0].decode()} line; run on Linux"
            ) from error

    def available_now(self) -> int:
        """The memory available now by one read of one file; what MemAvailable leaves out as last fully read."""
        found = _AVAILABLE.search(self._meminfo.read(256))
        if found is None:
            raise CouldNot(f"{self._meminfo.path} has no MemAvailable line; run on Linux")
        return min(int(found[1]) * KIB + self._more, self.total)

    def swapped(self) -> tuple[int | None, int | None]:
        """Bytes swapped in and out since boot, by disk, by zswap and as zeros; the whole machine's, whatever the group.

        A group's own memory.stat has them only on newer kernels, and never in cgroup v1. None where the kernel
        was built without swap.
        """
        vmstat = fields(read_if_there(self._vmstat) or b"")
        if b"pswpin" not in vmstat or b"pswpout" not in vmstat:
            return None, None
        page = os.sysconf("SC_PAGE_SIZE")
        into, out = (sum(vmstat.get(name, 0) for name in names) for names in (SWAPPED_IN, SWAPPED_OUT))
        return into * page, out * page

    def close(self) -> None:
        """Let the kept file go."""
        self._meminfo.close()


def pressure_seconds(path: Path | None) -> tuple[float | None, float | None]:
    """Seconds of `some` and of `full` stall since boot in a PSI file; None where PSI is off.

    The totals are microseconds, and exact, unlike the decaying averages (Documentation/accounting/psi.rst).
    """
    text = read_if_there(path) if path is not None else None
    totals = {kind: int(total) / 1e6 for kind, total in _PSI.findall(text or b"")}
    return totals.get(b"some"), totals.get(b"full")


def _reclaimable_arc(arcstats: bytes) -> int:
    """Bytes that ZFS's cache gives back when asked: its size above its minimum (kstat arcstats)."""
    arc = {name: int(number) for name, number in _ARC.findall(arcstats)}
    return max(arc.get(b"size", 0) - arc.get(b"c_min", 0), 0)
