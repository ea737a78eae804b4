"""What must hold in a scenario: what all checks have in common.

Times are those of the scenario. `guest` is a guest's name, or a glob over names.
"""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

from autoballoon.core.units import MIB
from autoballoon.sim.course import Seconds

if TYPE_CHECKING:
    from autoballoon.sim.guest import Guest
    from autoballoon.sim.world import World

SLACK = 2 * MIB
"""Sizes closer than this are the same."""


class Watcher:
    """One check in one run; it remembers the first thing that went wrong."""

    def __init__(self) -> None:
        self.wrong: str | None = None
        self.has_looked = False
        """There was something to judge."""

    def see(self, world: "World") -> None:
        """Look at the world after a step."""

    def end(self, world: "World") -> None:
        """Look at it when all is over."""

    @property
    def unmet(self) -> str | None:
        """What is wrong; a check that never had anything to judge is not met either."""
        return self.wrong or (None if self.has_looked else "there was never anything to look at")

    def fails(self, says: str) -> None:
        """Remember what is wrong, unless something was before."""
        self.wrong = self.wrong or says


class MustHold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="check"):
    after: Seconds = Seconds(0)
    """Nothing before this time matters."""

    def watcher(self) -> Watcher:
        """What watches it in one run."""
        raise NotImplementedError


class OfGuests(MustHold, frozen=True, kw_only=True):
    guest: str = "*"

    def names(self, guest: str) -> bool:
        """Whether it is about the guest of that name; one called web[1] is named as it is written, too."""
        return guest == self.guest or fnmatchcase(guest, self.guest)

    def concerned(self, world: "World") -> "list[Guest]":
        """The guests that it is about and that are there."""
        if self.guest == "*":
            return world.there  # as in most scenarios, at each step
        return [guest for guest in world.there if self.names(guest.name)]
