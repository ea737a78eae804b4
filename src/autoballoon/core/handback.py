"""What is handed back to guests that are balanced no longer: the daemon leaves, or leaves them alone."""

from collections.abc import Iterable, Mapping

from autoballoon.core import guard
from autoballoon.core.model import Guest, Reason, SetTarget
from autoballoon.core.share import water_fill
from autoballoon.core.track import Track
from autoballoon.core.units import page_floor


def handed_back(guests: Iterable[Guest], tracks: Mapping[str, Track], room: int) -> tuple[SetTarget, ...]:
    """What those of the guests get out of `room`, by shares, that we have made smaller; most first, as there may not be
    the time to tell all."""
    squeezed = [guest for guest in guests if tracks[guest.key].ours and guest.managed]
    limits = [guard.bounds(guest, tracks[guest.key])[1] for guest in squeezed]
    holds = [max(tracks[guest.key].target, guest.actual) for guest in squeezed]
    claims = [limit - hold for limit, hold in zip(limits, holds, strict=True)]
    given = water_fill(room, claims, [guest.shares for guest in squeezed])
    orders, sizes = [], {guest.key: guest.actual for guest in squeezed}
    for guest, hold, more in zip(squeezed, holds, given, strict=True):
        before, size = tracks[guest.key].target, page_floor(hold + more)
        if size > before or (size == before and tracks[guest.key].lags):  # nobody will tell it again
            numbers: dict[str, int | float] = {"room": room}
            orders.append(
                SetTarget(guest.key, guest.name, Reason.FAREWELL, numbers, before=before, size=size)
            )
    return tuple(sorted(orders, key=lambda order: sizes[order.key] - order.size))
