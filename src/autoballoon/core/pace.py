"""Pace: how fast a wish is followed. Grow at once; shrink slowly, unless the host is short; rest when near."""

from autoballoon.core.model import Guest, Reason
from autoballoon.core.track import Track
from autoballoon.core.units import MIB

EVERY_S = 10.0
"""While the host is not short a guest shrinks at most once in this time ..."""
PART = 20
"""... and then by one part in this many of its maximum: nobody waits for it, and each move costs both sides."""
SHORT_DEAD_BAND = 32 * MIB
"""While the host is short, what is not more than this is not worth taking ..."""
NEED_DEAD_BAND = 8 * MIB
"""... nor what is not more than this while a guest lacks what it needs."""


def dead_band(guest: Guest) -> int:
    """Differences up to this size (bytes) are not worth a move."""
    return max(8 * MIB, guest.max // 50)


def paced_shrink(guest: Guest, track: Track, size: int, *, now: float) -> tuple[int, Reason | None]:
    """How far towards `size` (below the target) the guest may go now; a Reason when it may not go at all."""
    gap = track.target - size
    if gap <= dead_band(guest):
        return track.target, Reason.SMALL
    if now - track.paced_at < EVERY_S:
        return track.target, Reason.PACED
    return track.target - min(gap, max(guest.max // PART, 2 * dead_band(guest))), None
