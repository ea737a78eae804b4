"""How much a guest may take before the host's kernel holds it: a backstop where a balloon is not kept."""

from autoballoon.core.model import Guest
from autoballoon.core.pool import overhead_of
from autoballoon.core.track import RESIDENT_SLACK, Health, Track
from autoballoon.core.units import MIB, page_floor

SLACK_MIN, SLACK_PART = 64 * MIB, 32
"""Beyond what it was granted and QEMU's overhead: kernel memory for its threads, queues and page tables (4 KiB for each
2 MiB, the host's and the guest's), some cache of its disk images, and what a guest in need deflates by itself between
two ticks."""
_KNOWN = (Health.OK, Health.SILENT, Health.STOPPED)


def slack_of(guest: Guest) -> int:
    """Bytes that its group may hold beyond what was granted and QEMU's overhead."""
    return max(SLACK_MIN, page_floor(guest.max // SLACK_PART))


def granted(guest: Guest, track: Track) -> int:
    """The size that it has or may become, bytes: while it shrinks that is still its old one."""
    return max(track.target, guest.actual)


def limit_of(guest: Guest, track: Track) -> int | None:
    """The most that its control group may hold, bytes; None: all it wants.

    None for a guest that boots, has no driver or comes in by migration: it takes what it touches, and has agreed to
    nothing. A guest that has its whole RAM cannot take more.
    """
    size = granted(guest, track)
    if not guest.managed or track.health not in _KNOWN or size >= guest.max:
        return None
    if guest.resident is None or guest.overhead is None:
        return None
    return page_floor(size + overhead_of(guest) + slack_of(guest))


def keeps(guest: Guest, track: Track) -> bool:
    """Whether the host holds no more of its memory than it was granted."""
    return guest.resident is None or guest.resident <= granted(guest, track) + RESIDENT_SLACK
