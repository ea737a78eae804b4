"""What a guest's files of /proc say, read as far as a Word needs it; the guest may have written anything in them."""

import re
from collections.abc import Mapping

import msgspec

from autoballoon.core.units import KIB
from autoballoon.guests.agent_line import Word, is_whole

MEMINFO, VMSTAT, PRESSURE, SWAPS = "/proc/meminfo", "/proc/vmstat", "/proc/pressure/memory", "/proc/swaps"
FILES = (MEMINFO, VMSTAT, PRESSURE, SWAPS)
_STALLS = (
    *(f"allocstall_{zone}" for zone in ("dma", "dma32", "normal", "movable", "device")),
    "allocstall",  # before Linux 4.8, in place of all those
)


def word_of(files: Mapping[str, bytes], seq: int) -> Word | None:
    """The word in these files, by their path; None when no guest can have them. What is not told is unknown."""
    meminfo, vmstat = files.get(MEMINFO, b""), files.get(VMSTAT, b"")
    swap_total, swap_used = _swap(meminfo, files.get(SWAPS))
    told = {
        "v": 1,
        "seq": seq,
        "why": "tick",
        "total": _bytes(_number(meminfo, "MemTotal:")),
        "available": _bytes(_number(meminfo, "MemAvailable:")),
        "swap_total": swap_total,
        "swap_used": swap_used,
        # Of cache alone, as before Linux 5.9, which counted nothing else: what comes in from swap is no cache.
        "refaults": _first(vmstat, "workingset_refault_file", "workingset_refault"),
        "psi_some_s": _waited(files.get(PRESSURE, b""), "some"),
        "psi_full_s": _waited(files.get(PRESSURE, b""), "full"),
        "alloc_stalls": _sum(vmstat, *_STALLS),
        "oom_kills": _number(vmstat, "oom_kill"),
    }
    try:
        word = msgspec.convert(told, Word)
    except msgspec.ValidationError:
        return None
    return word if word.total is not None and is_whole(word) else None


def _number(text: bytes, name: str) -> int | None:
    """The number after the name that begins a line."""
    found = re.search(rb"^" + name.encode() + rb" +(\d{1,18})\b", text, re.MULTILINE)
    return None if found is None else int(found[1])


def _bytes(kib: int | None) -> int | None:
    return None if kib is None else kib * KIB


def _first(text: bytes, *names: str) -> int | None:
    return next((value for name in names if (value := _number(text, name)) is not None), None)


def _sum(text: bytes, *names: str) -> int | None:
    told = [value for name in names if (value := _number(text, name)) is not None]
    return sum(told) if told else None


def _waited(text: bytes, name: str) -> float | None:
    """Seconds of a PSI line's total."""
    found = re.search(rb"^" + name.encode() + rb" .{0,100}? total=(\d{1,16})\b", text, re.MULTILINE)
    return None if found is None else int(found[1]) / 1e6


def _swap(meminfo: bytes, swaps: bytes | None) -> tuple[int | None, int | None]:
    """(size, used) of swap on disks: what zram holds stays in the guest's memory."""
    whole = _bytes(_number(meminfo, "SwapTotal:"))
    if not whole:
        return whole, whole
    if swaps is None:
        return None, None
    size = used = 0
    for line in swaps.splitlines()[1:]:
        words = line.split()
        if len(words) < 4 or b"zram" in words[0] or not (words[2].isdigit() and words[3].isdigit()):
            continue
        if len(words[2]) < 18 and len(words[3]) < 18:
            size, used = size + int(words[2]), used + int(words[3])
    return size * KIB, used * KIB
