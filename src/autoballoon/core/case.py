"""One guest whose size is to change in this step."""

import msgspec

from autoballoon.core.model import Guest, Reason
from autoballoon.core.policy import Wish
from autoballoon.core.track import Track
from autoballoon.core.units import page_floor

_HURTS = {
    reason: degree
    for degree, reason in enumerate(
        (
            Reason.TAKE_SURPLUS,
            Reason.TAKE_COLD_CACHE,
            Reason.TAKE_LATELY,
            Reason.TAKE_WARM_CACHE,
            Reason.TAKE_HEADROOM,
            Reason.TAKE_NEED,
        )
    )
}


class Case(msgspec.Struct, frozen=True, gc=False):
    """A guest, what is known of it, and what the policy would make of it. Bytes."""

    guest: Guest
    track: Track
    wish: Wish
    size: int
    """The wish within the guest's bounds."""
    deflated: bool = False
    """It has just taken memory back by itself, and needs more."""

    @property
    def base(self) -> int:
        """What it is charged for anyway: a target up to its actual size costs nothing."""
        return max(self.track.target, min(page_floor(self.guest.actual), self.size))

    @property
    def gap(self) -> int:
        """How far it would shrink; negative when it would grow."""
        return self.track.target - self.size

    @property
    def hurts(self) -> int:
        """How much it hurts to take that: 0 for surplus, more for each rung of the ladder below."""
        return _HURTS.get(self.wish.reason, 0)

    @property
    def is_idle(self) -> bool:
        """Only what lies idle would be taken: surplus, cold cache, or what it needed lately."""
        return self.hurts <= _HURTS[Reason.TAKE_LATELY]

    @property
    def grows(self) -> bool:
        """What lies free in it now will not for long."""
        return self.track.reading is not None and self.track.reading.grows

    @property
    def would_fill(self) -> bool:
        """More would be of use to it, for its cache."""
        return self.track.reading is None or self.track.reading.is_full

    @property
    def spare(self) -> int:
        """What may be taken and holds nothing at all, headroom left out."""
        reading = self.track.reading
        if reading is None or reading.free is None:
            return 0
        return min(self.gap, reading.free - (self.wish.urgent - self.wish.need))
