"""Guests that live in this process, on whatever clock they are given: for the tests of what is above `guests`."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import msgspec

from autoballoon.core.model import Guest
from autoballoon.core.units import GIB, MIB
from autoballoon.guests.hypervisor import Hypervisor, Problem, Wake, sleep_on


@dataclass(slots=True)
class FakeGuest:
    """A guest with a balloon that moves at `rate`, a `need` it cannot give back and a `cache` it can.

    Every attribute may be set at any time. Nothing happens between calls: `advance` works out what has happened by
    `now`. Bytes, and seconds of the caller's clock.
    """

    name: str
    max: int = 512 * MIB
    need: int = 100 * MIB
    cache: int = 50 * MIB
    rate: int = GIB
    """Bytes that the balloon moves in a second."""
    interval_s: float = 1.0
    """Seconds between two sets of statistics; 0: none are sent."""
    pid: int | None = None
    running: bool = True
    driver: bool | None = True
    incoming: bool = False
    migrating: bool = False
    has_balloon: bool = True
    deflates_itself: bool = True
    """DEFLATE_ON_OOM: the total stays at the maximum; without it the total follows the balloon."""
    silent: bool = False
    """Sends no statistics."""
    stuck: bool = False
    """Its balloon does not move."""
    born_at: float = 0.0
    actual: int = 0
    target: int = 0
    swap_in: int = 0
    swap_out: int = 0
    major_faults: int = 0
    taken_at: float | None = None
    answers: int = 0
    """How many sets of statistics it has sent since it booted."""
    reported: dict[str, int] = field(default_factory=dict)
    """The last statistics, by the names of the schema."""
    _moved_until: float = 0.0

    def __post_init__(self) -> None:
        self.actual = self.actual or self.max
        self.target = self.target or self.actual
        self._moved_until = self.born_at

    @property
    def is_answering(self) -> bool:
        """Whether a request for statistics would be answered."""
        return self.running and self.has_balloon and self.driver is not False and not self.silent

    def advance(self, now: float) -> None:
        """Let the balloon move, and the statistics that fell due be taken, until `now`."""
        due = self.born_at if self.taken_at is None else self.taken_at + self.interval_s
        if self.interval_s and self.is_answering and due <= now:
            last_due = due + (now - due) // self.interval_s * self.interval_s
            self._move(last_due)
            self.take_stats(last_due)
        self._move(now)

    def set_target(self, size: int, now: float) -> None:
        """What `balloon` does: clamped to the maximum, and begun at once."""
        self.advance(now)
        self.target = min(size, self.max)

    def take_stats(self, now: float) -> None:
        """Send statistics as they are at `now`, unless it does not answer."""
        if not self.is_answering:
            return
        self._move(now)
        available = max(0, self.actual - self.need)
        self.reported = {
            "total": self.max if self.deflates_itself else self.actual,
            "available": available,
            "free": max(0, available - self.cache),
            "caches": min(self.cache, available),
            "swap_in": self.swap_in,
            "swap_out": self.swap_out,
            "major_faults": self.major_faults,
        }
        self.taken_at = now
        self.answers += 1

    def reset(self, now: float, *, driver: bool | None = False) -> None:
        """Boot anew: all memory is the guest's again, and nothing is known of it until its driver is up."""
        self.advance(now)
        self.born_at = self._moved_until = now
        self.actual, self.driver = self.max, driver
        self.reported, self.taken_at, self.answers = {}, None, 0
        self.swap_in = self.swap_out = self.major_faults = 0

    def _move(self, until: float) -> None:
        moved_for = max(0.0, until - self._moved_until)
        self._moved_until = max(self._moved_until, until)
        if self.stuck or not self.running or self.driver is False or not self.has_balloon:
            return
        way = self.target - self.actual
        step = min(abs(way), round(moved_for * self.rate))
        self.actual += step if way > 0 else -step

    def as_guest(self, key: str, now: float) -> Guest:
        """The guest in the one schema, as an adapter would report it."""
        self.advance(now)
        guest = Guest(
            key=key,
            name=self.name,
            max=self.max,
            actual=self.actual,
            pid=self.pid,
            running=self.running,
            managed=self.has_balloon,
            age_s=None if self.taken_at is None else now - self.taken_at,
            up_s=now - self.born_at,
            driver=self.driver if self.has_balloon else None,
            incoming=self.incoming,
            migrating=self.migrating,
            deflates_itself=self.deflates_itself if self.driver and self.has_balloon else None,
        )
        return msgspec.structs.replace(guest, **self.reported)


class FakeHypervisor(Hypervisor):
    """A hypervisor of FakeGuests; `clock` gives the time. Tests set the guests' attributes and call `happened`."""

    def __init__(self, clock: Callable[[], float], guests: Iterable[FakeGuest] = ()) -> None:
        self.guests: dict[str, FakeGuest] = {f"/fake/{guest.name}": guest for guest in guests}
        """By key. A guest taken out of it has vanished."""
        self.targets: list[tuple[str, int]] = []
        """Every target that was set, in order."""
        self.relaxed: frozenset[str] = frozenset()
        self.is_closed = False
        self._clock = clock
        self._wake: Wake = sleep_on

    def happened(self, text: str) -> None:
        """Wake whoever watches, as an event would."""
        self._wake(text)

    async def start(self, wake: Wake, *, wait: bool = True) -> None:
        self._wake = wake

    async def read(self) -> list[Guest]:
        now = self._clock()
        return [guest.as_guest(key, now) for key, guest in self.guests.items()]

    async def ask(self, keys: frozenset[str]) -> None:
        for key in keys & self.guests.keys():
            self.guests[key].take_stats(self._clock())

    def relax(self, keys: Collection[str]) -> None:
        self.relaxed = frozenset(keys)

    async def set_target(self, key: str, size: int) -> bool:
        guest = self.guests.get(key)
        if guest is None or not guest.has_balloon or size <= 0:
            return False
        guest.set_target(size, self._clock())
        self.targets.append((key, size))
        return True

    async def suspend(self, key: str) -> bool | None:
        guest = self.guests.get(key)
        if guest is not None and not guest.running:
            return False
        return self._run(key, running=False)

    async def resume(self, key: str) -> bool | None:
        return self._run(key, running=True)

    def problems(self) -> list[Problem]:
        return [
            Problem(
                where=key, says="the guest has no balloon device; start QEMU with -device virtio-balloon-pci"
            )
            for key, guest in self.guests.items()
            if not guest.has_balloon
        ]

    async def close(self) -> None:
        self.is_closed = True

    def _run(self, key: str, *, running: bool) -> bool | None:
        guest = self.guests.get(key)
        if guest is None:
            return None
        guest.advance(self._clock())
        guest.running = running
        return True
