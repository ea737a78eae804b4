"""How fast the host swaps, and how long a guest's turn has to be to pay for what a change of turns moves."""

import msgspec

from autoballoon.core.model import Host
from autoballoon.core.units import MIB

DEFAULT_SPEED = 100 * MIB
"""Bytes a second, each way, until it has been measured: docs/decisions/suspend-quantum.md."""
BUSY = 4 * MIB
"""Bytes a second; less than a thousand pages a second is a trickle, and says nothing of what the host could do."""
LOOK_S = 0.5
"""Over at least so long a rate is taken."""
CHANGE_S = 10.0
"""So long after guests changed places there is much to move, if ever: what the host does then is what it can do."""
FOLLOWS = 0.5
"""By this part of the way the speed follows what was measured."""
PAYS = 10
"""A turn is at least so many times as long as what is moved for it takes to go out and to come in again."""
TURN_S = 30.0
"""... and never shorter: docs/decisions/suspend-quantum.md."""


class Way(msgspec.Struct, frozen=True):
    """One way of the host's swap, in or out."""

    speed: float = DEFAULT_SPEED
    """Bytes a second, as measured so far."""
    best: float = 0.0
    """The fastest rate since the last change."""
    counter: int | None = None
    """The host's, at the last look."""


class SwapSpeed(msgspec.Struct, frozen=True):
    """The host's swap as measured so far."""

    into: Way = Way()
    out: Way = Way()
    at: float = -1e9
    """When the host was last looked at."""
    changes_until: float = -1e9
    """Guests changed places less than CHANGE_S before then."""


def measured(speed: SwapSpeed, host: Host, now: float) -> SwapSpeed:
    """The speed after this look at the host.

    Mostly it is the demand that limits a rate, and not the host. So a rate that is faster than all before counts
    whenever it is seen; a slower one only when it was the best that was seen while guests changed places.
    """
    elapsed = now - speed.at
    if elapsed < LOOK_S:
        return speed
    is_over = speed.at < speed.changes_until <= now
    return SwapSpeed(
        into=_looked(speed.into, host.swap_in, elapsed, is_over=is_over),
        out=_looked(speed.out, host.swap_out, elapsed, is_over=is_over),
        at=now,
        changes_until=speed.changes_until,
    )


def changed(speed: SwapSpeed, now: float) -> SwapSpeed:
    """The speed when guests are told to change places: what comes now is worth measuring."""
    return msgspec.structs.replace(
        speed,
        into=msgspec.structs.replace(speed.into, best=0.0),
        out=msgspec.structs.replace(speed.out, best=0.0),
        changes_until=now + CHANGE_S,
    )


def _looked(way: Way, counter: int | None, elapsed: float, *, is_over: bool) -> Way:
    rate = 0.0
    if way.counter is not None and counter is not None:
        rate = max(0.0, (counter - way.counter) / elapsed)
    best, followed = max(way.best, rate), way.speed
    if rate > way.speed:
        followed += (rate - way.speed) * FOLLOWS
    elif is_over and BUSY <= best < way.speed:
        followed += (best - way.speed) * FOLLOWS
    return Way(followed, best, counter)


def turn_s(speed: SwapSpeed, moved: int) -> float:
    """How long a guest runs at least, seconds, when `moved` bytes of it go to the host's swap between its turns."""
    return max(TURN_S, PAYS * moved * (1 / speed.out.speed + 1 / speed.into.speed))
