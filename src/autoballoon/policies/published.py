"""What the published rules of others share: whom they see, and what stands in for what they read.

These rules were written for other hosts and hypervisors. Each reads a few things that the one schema lacks; what
stands in for them is said here, or in the rule's own file. Health comes before any rule: a guest that is silent,
stopped or without a driver is not moved, whatever the rule wishes.
"""

from autoballoon.core.model import Guest, Reason
from autoballoon.core.policy import Sight, Wish
from autoballoon.core.track import Health, resident_of


def rule_wish(size: float, **numbers: int | float) -> Wish:
    """A wish for `size` bytes, for no other reason than the rule."""
    return Wish(size=int(size), reason=Reason.RULE, numbers=numbers)


def answering(sight: Sight) -> list[Guest]:
    """The guests that are up with a driver, also those whose statistics are old: QEMU goes on serving them."""
    seen = (Health.OK, Health.SILENT)
    return [guest for guest in sight.snapshot.guests if sight.tracks[guest.key].health in seen]


def unassigned(sight: Sight) -> int:
    """Host memory that is assigned to no guest, bytes: what Xen calls free memory. It may be negative.

    A Xen guest holds all of its size. Ours holds what it has touched, so the rest of its size counts as taken.
    """
    untouched = sum(max(0, guest.actual - resident_of(guest)) for guest in sight.snapshot.guests)
    return sight.snapshot.host.available - untouched


def used_by(guest: Guest) -> int | None:
    """What the guest uses, caches and balloon left out, and its swap in use, bytes; None when it has not said.

    MemTotal - MemFree - Buffers - Cached + SwapTotal - SwapFree, where that is known. The balloon's statistics have one
    number for Buffers and Cached; without it `available` stands in for all three. Swap in use is known from a guest
    side only, and counts as none otherwise.
    """
    if guest.total is None:
        return None
    if guest.free is not None and guest.caches is not None:
        spare = guest.free + guest.caches
    elif guest.available is not None:
        spare = guest.available
    else:
        return None
    # Where the guest may deflate by itself, its total stays, and the balloon looks used (Linux virtio_balloon.c).
    stays = guest.total > guest.actual if guest.deflates_itself is None else guest.deflates_itself
    balloon = guest.max - guest.actual if stays else 0
    return max(0, guest.total - balloon - spare) + (guest.swap_used or 0)
