"""Guests as characters: what a scenario says of a group of guests, and how each kind differs from an honest one.

Sizes and times in a scenario carry a unit; the defaults say where they come from.
"""

from random import Random
from typing import TYPE_CHECKING, Literal

import msgspec

from autoballoon.core.units import GIB, MIB, Portion
from autoballoon.sim.course import Course, Seconds, Shape, Size, course_of

if TYPE_CHECKING:
    from autoballoon.sim.guest import Guest, Report


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="character"):
    """`count` guests of one character; each key is the same for all of them."""

    name: str
    count: int = 1
    max: Size
    """Configured RAM."""
    size: Size | None = None
    """Logical size at the beginning; `max` when absent."""
    floor: Portion = Portion(share=0.25)
    ceiling: Portion = Portion(share=1.0)
    shares: int = 1000
    manage: bool = True
    may_suspend: bool = False

    need: Shape
    """Anonymous memory that it wants: programs, not files."""
    clock: Literal["wall", "work"] = "wall"
    """What `need` goes by: time, or the work that the guest has done (a build that waits also grows later)."""
    jitter: float = 0.0
    """Each guest's need is larger or smaller by up to this part, at random."""
    shift: Seconds = Seconds(0)
    """Each guest's need is later by this than that of the one before it."""
    touch: Size = Size(2 * GIB)
    """Bytes a second by which a need can rise at most: clearing pages takes about so long."""
    pass_: Seconds = msgspec.field(name="pass", default=Seconds(1))
    """Working at full speed it passes over all it wants once in this time."""

    files: Size = Size(0)
    """File data that it reads, once: cold cache if there is room."""
    read: Size = Size(100 * MIB)
    """... at so many bytes a second."""
    warm: Size = Size(0)
    """Part of `files` that is read again and again ..."""
    warm_pass: Seconds = Seconds(5)
    """... all of it once in this time."""
    disk: Size = Size(200 * MIB)
    """Bytes a second of its disk, for files and for swap of its own."""
    swap: Size = Size(0)
    """Swap of its own."""
    kernel: Size | None = None
    """What its kernel keeps; when absent 16 MiB and 2.5 % of `max` (1.6 % are struct page)."""
    tmpfs: Size = Size(0)
    """Part of `need` that lies in tmpfs: reported among the caches, and not to be dropped."""

    inflate: Size = Size(819 * MIB)
    """Bytes a second that its balloon takes: 320 MiB in 0.4 s (measured on guests under emulation)."""
    deflate: Size = Size(1638 * MIB)
    """... and gives back: 320 MiB in 0.2 s."""
    deflates_itself: bool = True
    """Its driver may take memory back where the kernel would kill (feature bit 2), and its total stays at `max`."""
    reporting: bool = False
    """Free page reporting: the host gets pages back that the guest has freed."""
    overhead: Size = Size(60 * MIB)
    """What its QEMU takes beyond, after a minute; half of it from the start (30 to 85 MiB measured)."""
    agent: bool = False
    """A guest agent reports swap, pressure and kills."""

    boot: Seconds = Seconds(4)
    """From its start until its balloon driver is up (2 to 10 s measured under emulation)."""
    starts: Seconds | None = None
    """When it boots; absent: it has long been running when the scenario begins, its caches are full."""
    ends: Seconds | None = None
    """When it is gone."""
    counts: bool = True
    """Whether its lost time is anybody's loss; that of a guest which lies or grabs is not."""

    def names(self) -> list[str]:
        """The names of its guests."""
        return [self.name] if self.count == 1 else [f"{self.name}-{n + 1}" for n in range(self.count)]

    def course(self, number: int, until: float, rng: Random) -> Course:
        """The need of its guest with that number, from 0."""
        return course_of(self.need, until, rng, jitter=self.jitter, shift=self.shift * number)

    # How a character differs. Each is asked at every step of the guest's life, and may use its `rng`.

    def wants(self, guest: "Guest", need: float, now: float) -> float:
        """The anonymous memory that it wants, where an honest one wants `need`."""
        return need

    def balloon_moves(self, guest: "Guest", now: float) -> bool:
        """Whether its balloon moves at all now."""
        return True

    def heads_for(self, guest: "Guest", target: int, now: float) -> float:
        """The size that its balloon goes for when told `target`."""
        return target

    def speaks(self, guest: "Guest", now: float) -> bool:
        """Whether it answers a request for statistics."""
        return True

    def says(self, guest: "Guest", truth: "Report", now: float) -> "Report":
        """What it reports where `truth` is the case."""
        return truth


class Honest(Group, frozen=True, kw_only=True, tag="honest"):
    """Does what it is asked at once and says the truth."""


class Slow(Group, frozen=True, kw_only=True, tag="slow"):
    """Honest, with a balloon that moves at 20 MiB a second unless told otherwise."""

    inflate: Size = Size(20 * MIB)
    deflate: Size = Size(40 * MIB)


class Stuck(Group, frozen=True, kw_only=True, tag="stuck"):
    """Its balloon does not move any more after `since`."""

    since: Seconds = Seconds(0)

    def balloon_moves(self, guest: "Guest", now: float) -> bool:
        return now < self.since


class SometimesStuck(Group, frozen=True, kw_only=True, tag="sometimes-stuck"):
    """Its balloon stands still for `stuck` out of every `every`."""

    every: Seconds = Seconds(20)
    stuck: Seconds = Seconds(10)

    def balloon_moves(self, guest: "Guest", now: float) -> bool:
        return now % self.every >= self.stuck


class LowerLimit(Group, frozen=True, kw_only=True, tag="lower-limit"):
    """Never becomes smaller than `limit`, and tells nobody."""

    limit: Size

    def heads_for(self, guest: "Guest", target: int, now: float) -> float:
        return max(target, min(self.limit, guest.actual))


class UpperLimit(Group, frozen=True, kw_only=True, tag="upper-limit"):
    """Never becomes larger again than `limit`, and tells nobody."""

    limit: Size

    def heads_for(self, guest: "Guest", target: int, now: float) -> float:
        return min(target, max(self.limit, guest.actual))


Character = Honest | Slow | Stuck | SometimesStuck | LowerLimit | UpperLimit
"""The closed set of characters."""
