"""What a guest is at a moment, and what is seen of it from outside; guest.py has how it lives."""

from random import Random
from typing import NamedTuple

from autoballoon.core.units import MIB, page_floor
from autoballoon.daemon.bounds import Bounds
from autoballoon.sim.cache import FileCache
from autoballoon.sim.characters import Group
from autoballoon.sim.course import Course
from autoballoon.sim.pages import Pages

KEPT_CACHE = 2 * MIB
"""File cache that no pressure takes: the pages of running programs."""
YOUNG_S = 60.0
"""A QEMU's overhead grows for so long."""
LACK = 8 * MIB
"""A guest that lacks less than this, or less than a hundredth of what it wants, starves of nothing."""


class Report(NamedTuple):
    """One set of balloon statistics; bytes, and counters since boot. None: its driver does not send it."""

    total: int | None = None
    available: int | None = None
    free: int | None = None
    caches: int | None = None
    swap_in: int | None = None
    swap_out: int | None = None
    major_faults: int | None = None


class Body:
    """A guest's state. All sizes are bytes, and floats where they change continuously."""

    def __init__(self, group: Group, name: str, course: Course, rng: Random, number: int = 0) -> None:
        self.group, self.name, self.course, self.rng = group, name, course, rng
        self.begins = group.begins(number)
        self.max = page_floor(group.max)
        self.floor, self.ceiling, _ = Bounds(floor=group.floor, ceiling=group.ceiling).within(self.max)
        self.kernel = float(group.kernel if group.kernel is not None else 16 * MIB + self.max // 40)
        self.low = 5 * (self.max / 1024) ** 0.5 * 1024
        """Its zones' low watermark, which MemAvailable leaves out (5/4 of 4 sqrt(KiB): Linux mm/page_alloc.c)."""
        self.there = self.begins is None
        self.running = True
        self.killed_by_host = False
        self.progress = 1.0
        self.work_s = self.lost_s = 0.0
        self.stalled_s = 0.0
        """Seconds in which it waited for memory of its own: its PSI. It does not count the host's swap, of which it
        knows nothing; of its balloon's work it counts what drops cache."""
        self.oom_kills = 0
        self.swap_in = self.swap_out = self.faults = self.refaults = 0.0
        self.swapped_in_before = self.swapped_out_before = 0.0
        """Bytes, in its earlier lives."""
        self.target = self.max
        """What QEMU asks of it: kept over a reset, and what the driver of its next life goes for."""
        self.reset(-1000.0 if self.begins is None else self.begins)
        if group.size is not None and self.begins is None:
            self.actual = float(page_floor(min(group.size, self.max)))
            self.target = int(self.actual)
        if self.there:
            self.booted = True
            self.want = course.at_any(0.0)
            self.anon = min(self.want, max(0.0, self.actual - self.kernel - KEPT_CACHE))
            self.cache.fill(max(0.0, self.actual - self.kernel - self.anon))
            self._touch()

    def reset(self, now: float) -> None:
        """Nothing in memory, no driver yet, the balloon empty until there is one."""
        self.born_at = now
        self.swapped_in_before += self.swap_in
        self.swapped_out_before += self.swap_out
        self.booted = False
        self.actual = float(self.max)
        self.rests = False
        """It took memory back by itself, and does not give it again before another order."""
        self.want = self.anon = self.unmet = self.own_swap = 0.0
        self.cache = FileCache(self.group)
        self.pages = Pages()
        self.moved_s = 0.0
        """Seconds of one processor that its balloon still takes for what it has moved."""
        self.rests_now = False
        """It sleeps."""
        self.waits = 0.0
        """Seconds it waits for its own devices in a second of work."""
        self.stall_s = 0.0
        """Seconds it still waits for the host, which pages out to give it what it took."""
        self.grew = 0.0
        """Bytes that it newly took of the host in this step."""
        self.swap_in = self.swap_out = self.faults = self.refaults = 0.0
        """Since its boot, bytes."""
        self.lacks_since: float | None = None
        self.restarts_until = -1.0
        self.restarts = False
        """What was killed is not back yet."""

    # What is seen from outside.

    @property
    def kept(self) -> float:
        """File cache that no pressure takes."""
        if not self.group.hoards or self.own_swap >= self.group.swap:
            return KEPT_CACHE
        return max(KEPT_CACHE, min(float(self.group.hoards), self.cache.size))

    @property
    def driver(self) -> bool:
        """Its balloon driver is up."""
        return self.booted and self.group.has_driver

    @property
    def resident(self) -> float:
        """Guest memory that the host holds in RAM."""
        return self.pages.resident

    @property
    def lack(self) -> float:
        """Bytes by which its size is too small for what it wants, and those that it wants and the host swapped out."""
        return max(0.0, self.used + KEPT_CACHE - self.actual) + self.pages.swapped_hot

    @property
    def starves(self) -> bool:
        """It lacks more than nothing."""
        lack = self.lack
        return lack > LACK and lack > self.want / 100

    @property
    def swapped_in_all(self) -> float:
        """Bytes that it swapped in by itself, in all its lives."""
        return self.swapped_in_before + self.swap_in

    @property
    def swapped_out_all(self) -> float:
        """Bytes that it swapped out by itself, in all its lives."""
        return self.swapped_out_before + self.swap_out

    @property
    def used(self) -> float:
        """What it cannot do without."""
        return self.kernel + self.want

    def overhead(self, now: float) -> int:
        """What its QEMU takes beyond guest memory."""
        age = now - self.born_at
        whole = self.group.overhead
        return whole if age >= YOUNG_S else int(whole * (0.5 + 0.5 * max(0.0, age) / YOUNG_S))

    def is_busy(self) -> bool:
        """Its processors run for more than a sixth of the time (see BUSY in daemon/sense.py)."""
        return self.grew > 0 or (self.group.pass_ <= 5 and not self.rests_now)

    def report(self) -> Report:
        """Balloon statistics as they are: virtio 1.2, section 5.5.6.4."""
        free = max(0.0, self.actual - self.kernel - self.anon - self.cache.size)
        cache = self.cache.size
        total = (self.max if self.group.deflates_itself else self.actual) - self.kernel / 2
        return Report(
            total=int(total),
            available=int(max(0.0, free + cache - self.low)),
            free=int(free),
            caches=int(cache + self.group.tmpfs * (self.anon > 0)),
            swap_in=int(self.swap_in),
            swap_out=int(self.swap_out),
            major_faults=int(self.faults / 4096),
        )

    def _touch(self) -> None:
        used = self.kernel + self.anon + self.cache.warm
        self.grew = self.pages.now(used + self.cache.cold, used, self.actual, reporting=self.group.reporting)
