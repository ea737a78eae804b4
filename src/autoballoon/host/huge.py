"""Memory that a balloon gave up and the host still holds: huge pages with holes.

QEMU gives ballooned memory back in pages of 4 KiB. Where the guest's RAM lies in transparent huge pages, the kernel
only unmaps the part: the huge page stays whole, and charged, until memory is so short that reclaim splits it - while
swapping. Measured on Linux 6.18: of 256 MiB in huge pages with every second page dropped, the control group was still
charged 256 MiB. `split_holed` makes the kernel split them now: 128 MiB, in 37 ms.

How: process_madvise(2) with MADV_COLD, since Linux 5.10, splits every huge page that is only partly mapped (in
mm/madvise.c, madvise_cold_or_pageout_pte_range) and marks the others as not lately used. It moves no page to swap.
"""

import ctypes
import os
import time
from collections.abc import Iterable
from typing import NamedTuple

_SYS_PROCESS_MADVISE = 440
"""The same number on every architecture (include/uapi/asm-generic/unistd.h)."""
_MADV_COLD = 20
_CHUNK = 256 * 1024 * 1024
"""Bytes in one call: it holds the process's memory map for reading, and a page fault may have to wait (about 40 ms)."""


class Splits(NamedTuple):
    """What it came to."""

    found: int
    """Huge pages that were split meanwhile, by whomever."""
    cpu_s: float
    """Processor time that it took; where guests keep the processors busy, much less than it lasted."""


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_libc = ctypes.CDLL(None, use_errno=True)


def split_holed(pid: int, ranges: Iterable[tuple[int, int]]) -> float | None:
    """Split the partly mapped huge pages in these ranges (address, bytes) of a process; None when that was refused.

    The processor time that it took, in seconds: about 0.15 ms a MiB that has something to split and 0.005 ms a MiB that
    has not. Blocks at least so long; call it from a thread. Needs CAP_SYS_NICE and leave to trace the process.
    None too when it is gone.
    """
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return None
    began = time.thread_time()
    try:
        done = all(
            _advise(process, start + at, min(_CHUNK, size - at))
            for start, size in ranges
            for at in range(0, size, _CHUNK)
        )
    finally:
        os.close(process)
    return time.thread_time() - began if done else None


def _advise(process: int, start: int, size: int) -> bool:
    vector = _Iovec(start, size)
    done: int = _libc.syscall(_SYS_PROCESS_MADVISE, process, ctypes.byref(vector), 1, _MADV_COLD, 0)
    return done >= 0
