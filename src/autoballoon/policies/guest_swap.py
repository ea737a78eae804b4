"""`overload = "guest-swap"`: needs that exceed the pool are met out of the swap that guests have of their own."""

from collections.abc import Sequence
from typing import Protocol

from autoballoon.core.model import Guest
from autoballoon.core.share import water_fill

KEEP = 0.25
"""This part of a guest's swap is left free: one that is full makes its kernel kill instead of swap."""


class Bounds(Protocol):
    """Two of a guest's rungs, a part of the second and what lies beyond it, bytes; kept by rungs.Rungs."""

    @property
    def floor(self) -> int: ...
    @property
    def need(self) -> int: ...
    @property
    def swapped(self) -> int: ...
    @property
    def refused(self) -> int: ...


def spare_swap(guest: Guest) -> int:
    """Bytes of its own swap that the guest may be made to use; 0 without a recent word from inside it."""
    if guest.swap_total is None or guest.swap_used is None:
        return 0
    return max(0, guest.swap_total - guest.swap_used - round(guest.swap_total * KEEP))


def take(
    guests: Sequence[Guest], rungs: Sequence[Bounds], sizes: Sequence[int], pool: int
) -> tuple[list[int], int]:
    """The sizes when guests with swap of their own give up need, and by how many bytes needs still exceed the pool.

    `sizes` are those of an overload in which nobody gives. A guest gives what its free swap allows, but keeps its
    floor and its fair share of the pool (need handed out over the floors by shares): so nothing that another reports
    can push it below that (I7). What is not given is left to the host's swap.
    """
    floors = [rung.floor for rung in rungs]
    claims = [rung.need - rung.floor for rung in rungs]
    fair = water_fill(pool - sum(floors), claims, [guest.shares for guest in guests])
    after = []
    for guest, rung, size, more in zip(guests, rungs, sizes, fair, strict=True):
        least = max(rung.floor + more, rung.need - rung.swapped - spare_swap(guest))
        after.append(size if guest.held or least >= rung.need else least)
    left = sum(min(size, rung.need) + rung.refused for size, rung in zip(after, rungs, strict=True)) - pool
    return after, max(0, left)
