"""proxmox: the automatic ballooning of Proxmox VE (pve-manager: PVE/AutoBalloon.pm, PVE/Service/pvestatd.pm).

Every 10 s the host is steered to 80 % in use: guests under pressure grow first, guests with free memory shrink first,
in proportion to their shares, by 100 MiB a cycle at most.

What stands in for what: MemTotal - MemAvailable of the host is capacity - available; `balloon` is a guest's size, its
"minimum memory" the floor, its memory the ceiling. That a guest is locked for a migration is `migrating`; one that
migrates in is never moved. With a control group as capacity, the group is the host.
"""

from collections.abc import Sequence

from autoballoon.core.model import Guest
from autoballoon.core.policy import Sight, Watch, Wishes
from autoballoon.core.units import MIB
from autoballoon.policies.published import answering, rule_wish

TARGET = 0.8
"""Part of the host that should be in use (`ballooning-target`, 80 by default)."""
DEAD_BAND = 10 * MIB
STEP_MOST = 100 * MIB
"""A guest moves by so much in a cycle, counted from where it stood when the cycle began."""
FREE_PART = 0.25
"""A guest has memory to spare when more than this part of its minimum is free."""


class Proxmox:
    """The rule of Proxmox VE."""

    name = "proxmox"
    every_s = 10.0
    raw = True
    watch = Watch()

    def start(self) -> None:
        """Nothing is remembered from cycle to cycle."""

    def wish(self, memory: None, sight: Sight, now: float) -> Wishes:
        """Sizes for the guests that this cycle moves; none for the others."""
        host = sight.snapshot.host
        goal = int(host.capacity * TARGET - (host.capacity - host.available))
        guests = [guest for guest in answering(sight) if takes_part(guest)]
        return Wishes(
            memory=memory,
            wishes={key: rule_wish(size, goal=goal) for key, size in cycle(guests, goal).items()},
        )


def cycle(guests: Sequence[Guest], goal: int) -> dict[str, int]:
    """One cycle: sizes by key that take `goal` bytes more of the host (or less, when negative), as far as that goes.

    Those whose turn it is first are asked alone; all are asked only when nothing at all came of that.
    """
    if abs(goal) <= DEAD_BAND:
        return {}
    moved: dict[str, int] = {}
    first = [guest for guest in guests if has_spare(guest) == (goal < 0)]
    rest = share_out(first, goal, moved)
    if rest >= goal > 0 or rest <= goal < 0:  # what went too far is progress
        share_out(guests, rest, moved)
    return moved


def takes_part(guest: Guest) -> bool:
    """Whether the guest has a size, a minimum and shares, and is not being migrated away."""
    return bool(guest.actual and guest.floor and guest.shares) and not guest.migrating


def has_spare(guest: Guest) -> bool:
    """Whether the guest has free memory by this rule's measure; one that has not said is under pressure."""
    return guest.actual >= guest.floor and (guest.free or 0) > guest.floor * FREE_PART


def share_out(guests: Sequence[Guest], goal: int, moved: dict[str, int]) -> int:
    """Move guests towards their part of what lies above all their minima, in `moved`; what is left of the goal.

    A guest that already has its part drops out, and so does, while memory is taken, one that has less than its part.
    While memory is given, one that has more than its part gives some up: the published tests ask for it.
    """
    rest, left, progress = goal, list(guests), True
    while rest and left and progress:
        above = rest + sum(moved.get(guest.key, guest.actual) - guest.floor for guest in left)
        shares = sum(guest.shares for guest in left)
        staying, progress = [], False
        for guest in left:
            desired = guest.floor + int(above / shares * guest.shares)
            step = min(max(desired, guest.floor), guest.top) - guest.actual
            if step == 0 or (step > 0 and goal < 0):
                continue
            staying.append(guest)
            size = guest.actual + min(max(step, -STEP_MOST), STEP_MOST)
            change = size - moved.get(guest.key, guest.actual)
            moved[guest.key] = size
            rest -= change
            progress = progress or change != 0
        left = staying
    return rest
