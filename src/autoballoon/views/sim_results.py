"""What simulations came to, as values: the JSON of `sim run --json`, version 1. Bytes and seconds."""

import msgspec

from autoballoon.core.units import PAGE

ORACLE = "oracle"
"""The arm that knows the future."""


class Result(msgspec.Struct, frozen=True):
    """One policy in one scenario."""

    scenario: str
    policy: str
    seed: int
    lost_s: float
    """Seconds of work that guests lost for want of memory, all together."""
    work_s: float
    """Seconds of work that they did."""
    host_swap_in: int
    host_swap_out: int
    guest_swap_in: int
    guest_swap_out: int
    longest_starving_s: float
    """The longest time at a stretch that one guest lacked memory it wanted."""
    moves: int
    """Targets set, guests stopped or resumed."""
    over_s: float
    """Seconds in which what guests wanted did not fit the pool, whoever had it."""
    guest_ooms: int
    host_ooms: int
    unmet: tuple[str, ...] = ()
    """What had to hold and did not, a sentence each."""
    broken: tuple[str, ...] = ()
    """Invariants that a step broke, a sentence each."""
    lost: dict[str, float] = {}
    """Seconds lost by each guest that lost any, by name."""

    @property
    def host_swap_pages(self) -> int:
        """Pages that the host swapped, in and out."""
        return (self.host_swap_in + self.host_swap_out) // PAGE

    @property
    def guest_swap_pages(self) -> int:
        """Pages that guests swapped by themselves, in and out."""
        return (self.guest_swap_in + self.guest_swap_out) // PAGE
