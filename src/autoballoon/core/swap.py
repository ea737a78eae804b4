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
UP, DOWN = 0.5, 0.1
"""By which part the measured speed follows a faster and a slower interval: mostly it is the demand that is slow."""
PAYS = 10
"""A turn is at least so many times as long as what is moved for it takes to go out and to come in again."""
TURN_S = 30.0
"""... and never shorter: docs/decisions/suspend-quantum.md."""


class SwapSpeed(msgspec.Struct, frozen=True):
    """The host's swap as measured so far: bytes a second, and the counters of the last look."""

    into: float = DEFAULT_SPEED
    """Swapped in, a second."""
    out: float = DEFAULT_SPEED
    """Swapped out, a second."""
    swap_in: int | None = None
    swap_out: int | None = None
    at: float = -1e9


def measured(speed: SwapSpeed, host: Host, now: float) -> SwapSpeed:
    """The speed after this look at the host; unchanged while it does not swap."""
    elapsed = now - speed.at
    if elapsed < LOOK_S:
        return speed
    return SwapSpeed(
        into=_followed(speed.into, speed.swap_in, host.swap_in, elapsed),
        out=_followed(speed.out, speed.swap_out, host.swap_out, elapsed),
        swap_in=host.swap_in,
        swap_out=host.swap_out,
        at=now,
    )


def _followed(speed: float, before: int | None, counter: int | None, elapsed: float) -> float:
    if before is None or counter is None or counter < before:
        return speed
    rate = (counter - before) / elapsed
    if rate < BUSY:
        return speed
    return speed + (rate - speed) * (UP if rate > speed else DOWN)


def turn_s(speed: SwapSpeed, moved: int) -> float:
    """How long a guest runs at least, seconds, when `moved` bytes of it go to the host's swap between its turns."""
    return max(TURN_S, PAYS * moved * (1 / speed.out + 1 / speed.into))
