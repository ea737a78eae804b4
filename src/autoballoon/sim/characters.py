"""Guests as characters: what a scenario says of a group of guests, and how each kind differs from an honest one.

Sizes and times in a scenario carry a unit; the defaults say where they come from.
"""

from random import Random
from typing import TYPE_CHECKING, Literal

import msgspec

from autoballoon.core.units import GIB, MIB, Portion
from autoballoon.sim.course import Course, Seconds, Shape, Size, course_of

if TYPE_CHECKING:
    from autoballoon.core.model import Guest as Seen
    from autoballoon.sim.body import Report
    from autoballoon.sim.guest import Guest


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
    headroom: Portion = Portion(share=0.25)
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
    rests_below: Size = Size(0)
    """While it needs no more than this it sleeps: it touches nothing, and loses nothing."""

    files: Size = Size(0)
    """File data that it reads, once: cold cache if there is room."""
    read: Size = Size(100 * MIB)
    """... at so many bytes a second."""
    warm: Size = Size(0)
    """Part of `files` that is read again and again ..."""
    warm_pass: Seconds = Seconds(5)
    """... all of it once in this time."""
    maps: bool = True
    """Its files are mapped: reading them again shows as major faults. Files read by system calls show nothing."""
    hoards: Size = Size(0)
    """File cache that its kernel keeps where it has swap of its own: it rather swaps programs out (swappiness)."""
    disk: Size = Size(200 * MIB)
    """Bytes a second of its disk, for files and for swap of its own."""
    swap: Size = Size(0)
    """Swap of its own."""
    cpus: int = 2
    """Virtual processors; a moving balloon keeps one of them busy."""
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
    answers_when_asked: bool = True
    """False: statistics come once a second, asked or not (QEMU before 7.2 cannot tell a fresh answer)."""
    reporting: bool = False
    """Free page reporting: the host gets pages back that the guest has freed."""
    overhead: Size = Size(60 * MIB)
    """What its QEMU takes beyond, after a minute; half of it from the start (30 to 85 MiB measured)."""
    agent: bool = False
    """A guest agent reports swap, pressure and kills."""

    has_driver: bool = True
    """Whether it has a balloon driver at all."""
    boot: Seconds = Seconds(4)
    """From its start until its balloon driver is up (2 to 10 s measured under emulation)."""
    programs: Seconds = Seconds(1)
    """... and from then until its programs start."""
    starts: Seconds | None = None
    """When it boots; absent: it has long been running when the scenario begins, its caches are full."""
    stagger: Seconds = Seconds(0)
    """Each guest starts by this later than the one before it."""
    ends: Seconds | None = None
    """When it is gone."""
    migrates: Seconds | None = None
    """When its memory begins to be sent to another host; it runs here until it `ends`."""
    counts: bool = True
    """Whether its lost time is anybody's loss; that of a guest which lies or grabs is not."""

    def names(self) -> list[str]:
        """The names of its guests."""
        return [self.name] if self.count == 1 else [f"{self.name}-{n + 1}" for n in range(self.count)]

    def begins(self, number: int) -> float | None:
        """When its guest with that number boots, if it has not long been running."""
        return None if self.starts is None else self.starts + self.stagger * number

    def course(self, number: int, until: float, rng: Random) -> Course:
        """The need of its guest with that number, from 0."""
        return course_of(self.need, until, rng, jitter=self.jitter, shift=self.shift * number)

    # How a character differs. Each is asked at every step of the guest's life, and may use its `rng`.

    def acts(self, guest: "Guest", now: float) -> None:
        """Whatever it does by itself before it lives its step."""

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

    def tells(self, guest: "Guest", truth: "Seen", now: float) -> "Seen":
        """What its agent makes known of it, where it has one; `truth` is what an honest one does."""
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


class NoDriver(Group, frozen=True, kw_only=True, tag="no-driver"):
    """Has no balloon driver: it keeps all its memory and says nothing."""

    has_driver: bool = False


class Stale(Group, frozen=True, kw_only=True, tag="stale"):
    """Its statistics stop at `since`; its balloon still moves."""

    since: Seconds

    def speaks(self, guest: "Guest", now: float) -> bool:
        return now < self.since


class LyingHigh(Group, frozen=True, kw_only=True, tag="lying-high"):
    """Says that nearly all its memory is available, whatever it uses: memory is taken that it needs."""

    counts: bool = False

    def says(self, guest: "Guest", truth: "Report", now: float) -> "Report":
        size = int(guest.actual)
        return truth._replace(available=size * 95 // 100, free=size * 90 // 100, caches=size // 20)


class LyingLow(Group, frozen=True, kw_only=True, tag="lying-low"):
    """Says that it has nothing left, whatever it is given: it wants to be given more."""

    counts: bool = False

    def says(self, guest: "Guest", truth: "Report", now: float) -> "Report":
        return truth._replace(available=4 * MIB, free=4 * MIB, caches=0)


class LyingAgent(Group, frozen=True, kw_only=True, tag="lying-agent"):
    """Its agent says that it always waits for memory, misses cache, has programs killed, and has swap to spare."""

    agent: bool = True
    counts: bool = False

    def tells(self, guest: "Guest", truth: "Seen", now: float) -> "Seen":
        waited = round(now)
        return msgspec.structs.replace(
            truth, refaults=waited * 100_000, psi_some_s=now, psi_full_s=now, alloc_stalls=waited * 1000,
            oom_kills=waited, swap_total=guest.max, swap_used=0,
        )  # fmt: skip


class Greedy(Group, frozen=True, kw_only=True, tag="greedy"):
    """Uses all that it is given at once, and `more`."""

    more: Size = Size(512 * MIB)
    counts: bool = False

    def wants(self, guest: "Guest", need: float, now: float) -> float:
        most = guest.max - guest.kernel - 32 * MIB
        return max(need, min(guest.actual - guest.kernel + self.more, most))


class CacheHungry(Group, frozen=True, kw_only=True, tag="cache-hungry"):
    """Reads warm files over and over, faster than others do, from a slow disk: a database or a file server."""

    warm_pass: Seconds = Seconds(2)
    disk: Size = Size(100 * MIB)


class Swapping(Group, frozen=True, kw_only=True, tag="swapping"):
    """Has swap of its own: it can be squeezed below its need, and pays for it."""

    swap: Size = Size(2 * GIB)


class Windows(Group, frozen=True, kw_only=True, tag="windows"):
    """Windows' accounting: the total is constant, ballooned memory looks used, `available` and `free` are one number,
    caches and swap are not told. It has a page file."""

    swap: Size = Size(1 * GIB)

    def says(self, guest: "Guest", truth: "Report", now: float) -> "Report":
        return truth._replace(
            total=guest.max, free=truth.available, caches=None, swap_in=None, swap_out=None, major_faults=None
        )


class Rebooting(Group, frozen=True, kw_only=True, tag="rebooting"):
    """Is reset every `every`, the first time after `first`."""

    every: Seconds
    first: Seconds = Seconds(0)

    def acts(self, guest: "Guest", now: float) -> None:
        due = self.first + self.every * max(0.0, (now - self.first) // self.every)
        if self.first <= now and guest.born_at < due and now >= due > 0:
            guest.reset(now)


class Byzantine(Group, frozen=True, kw_only=True, tag="byzantine"):
    """Reports anything that the schema allows, when it likes, and moves its balloon where it likes."""

    counts: bool = False

    def speaks(self, guest: "Guest", now: float) -> bool:
        return guest.rng.random() < 0.7

    def balloon_moves(self, guest: "Guest", now: float) -> bool:
        return guest.rng.random() < 0.7

    def heads_for(self, guest: "Guest", target: int, now: float) -> float:
        mood = Random(f"{guest.name} {now // 3}")
        return target if mood.random() < 0.4 else mood.uniform(0.0, guest.max)

    def says(self, guest: "Guest", truth: "Report", now: float) -> "Report":
        draw = guest.rng.randrange
        total = draw(1, guest.max + 1)
        return truth._replace(
            total=total, available=draw(0, total + 1), free=draw(0, total + 1), caches=draw(0, total + 1),
            swap_in=draw(0, 1 << 40), swap_out=draw(0, 1 << 40), major_faults=draw(0, 1 << 40),
        )  # fmt: skip


Character = (
    Honest | Slow | Stuck | SometimesStuck | LowerLimit | UpperLimit | NoDriver | Stale | LyingHigh | LyingLow
    | LyingAgent | Greedy | CacheHungry | Swapping | Windows | Rebooting | Byzantine
)  # fmt: skip
"""The closed set of characters. Sawtooth, diurnal and other lives are shapes of a `need`."""
