"""Pace: how fast a wish is followed. Grow at once; shrink slowly, unless the host is short; rest when near."""

from autoballoon.core.model import Guest, Reason
from autoballoon.core.track import Track
from autoballoon.core.units import MIB, page_ceil

EVERY_S = 10.0
"""While the host is not short a guest shrinks at most once in this time ..."""
IDLE_EVERY_S = 30.0
"""... in this, where nobody has a use for what it has too much: shares come true, but what lies free in one guest
is as good as in another ..."""
PART = 20
"""... and then by one part in this many of its size: nobody waits for it, and each move costs both sides."""
FIRST_S = 30.0
"""... and not before its readings have come for so long: what it does is hardly known before."""
SHORT_DEAD_BAND = 32 * MIB
"""While the host is short, what is not more than this is not worth taking ..."""
NEED_DEAD_BAND = 8 * MIB
"""... nor what is not more than this while a guest lacks what it needs ..."""
STARVING_DEAD_BAND = 2 * MIB
"""... nor what is not more than this when that guest's need cannot be met without it: many small gifts are one."""


def dead_band(guest: Guest) -> int:
    """Differences up to this size (bytes) are not worth a move."""
    return max(8 * MIB, guest.max // 50)


def worth(guest: Guest, track: Track, now: float) -> int:
    """Bytes that nobody waits for and that are yet worth the first of several slow moves, or the next of them."""
    begun = now - track.paced_at < 2 * IDLE_EVERY_S
    return dead_band(guest) if begun else max(SHORT_DEAD_BAND, 2 * dead_band(guest))


def paced_shrink(
    guest: Guest, track: Track, size: int, *, now: float, wanted: bool
) -> tuple[int, Reason | None]:
    """How far towards `size` (below the target) the guest may go now; a Reason when it may not go at all.

    `wanted`: another guest would fill it with cache, if it could have it.
    """
    gap = track.target - size
    if gap <= dead_band(guest):
        return track.target, Reason.SMALL
    if now - max(track.met_at, track.ok_since) < FIRST_S:
        return track.target, Reason.NEW
    if now - track.paced_at < (EVERY_S if wanted else IDLE_EVERY_S):
        return track.target, Reason.PACED
    return max(size, page_ceil(track.target - track.target // PART)), None
