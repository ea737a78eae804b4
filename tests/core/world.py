"""A small world on virtual time for the engine's tests: honest guests, one host, one loop like the daemon's."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from autoballoon.core.calm import CALM_EVERY_S, calm
from autoballoon.core.engine import Engine, Rules, State
from autoballoon.core.invariants import violations
from autoballoon.core.model import AnyDecision, Guest, Host, Resume, SetTarget, Snapshot, Suspend
from autoballoon.core.units import MIB, PAGE, Portion
from autoballoon.policies import policy_named

STEP_S = 0.05


@dataclass
class Tame:
    """A guest that does what it is asked at `rate`, fills spare memory with cache, and says the truth."""

    key: str
    need: Callable[[float], int]
    max: int = 512 * MIB
    floor: int = 128 * MIB
    ceiling: int = 0
    shares: int = 1000
    boot_s: float = 3.0
    cache_want: int = 400 * MIB
    cache_rate: int = 50 * MIB
    rate: int = 800 * MIB
    overhead: int = 40 * MIB
    obeys: bool = True
    sticks: bool = False
    """The host gets back nothing that its balloon takes, as with memory that is locked."""
    speaks: bool = True
    may_suspend: bool = False
    held: bool = False
    """By the operator."""
    pid: int | None = 1
    born_at: float = 0.0
    running: bool = True
    migrating: bool = False
    lost: int = 0
    """So many more orders of a size never reach it."""
    orders: bool = True
    """It can be stopped and resumed."""
    swap_total: int | None = None
    """Swap of its own, as a guest side would tell; what of its need does not fit goes there."""
    swap_used: int = 0
    cold_swap: int = 0
    """What has long been in it, and nobody reads."""
    actual: int = 0
    target: int = 0
    used: int = 20 * MIB
    cache: int = 0
    touched: int = 0
    said: dict[str, int] = field(default_factory=dict)
    said_at: float | None = None
    starved: float = 0.0
    swapped: int = 0
    """By the host."""
    ran: float = 0.0
    """Seconds that it ran with all it uses in RAM."""
    stops: list[float] = field(default_factory=list)
    """When it was stopped and let run, in turn."""
    moves: list[tuple[float, int]] = field(default_factory=list)
    least: int = 0
    """The smallest size that it had since it was last reset."""

    def __post_init__(self) -> None:
        self.actual = self.actual or self.max
        self.target = self.target or self.max

    def is_up(self, now: float) -> bool:
        """Its driver is."""
        return now >= self.born_at + self.boot_s

    def live(self, now: float) -> None:
        """One STEP_S of its life."""
        if not self.running:
            return
        self.ran += STEP_S if self.swapped < MIB else 0
        if self.is_up(now) and self.obeys:
            step = round(self.rate * STEP_S)
            reach = max(self.target, self.used + 2 * MIB)  # a guest cannot give up what is in use
            if self.actual > reach:
                self.actual = max(reach, self.actual - step)
            elif self.actual < self.target:
                self.actual = min(self.target, self.actual + step)
        self.least = min(self.least, self.actual)
        want = self.need(now)
        room = self.actual - 4 * MIB
        if self.swap_total is not None:
            self.swap_used = min(self.swap_total, max(0, want - room))
        self.used = min(want, room) // PAGE * PAGE
        self.starved += max(0, want - self.used - self.swap_used) * STEP_S
        spare = self.actual - self.used
        if self.is_up(now):
            self.cache = min(spare, self.cache_want, self.cache + round(self.cache_rate * STEP_S))
        self.touched = max(self.touched, self.used + self.cache)
        if not self.sticks:
            self.touched = min(self.actual, self.touched)

    def reset(self, now: float) -> None:
        """Boot anew, with all its memory until its driver is up: that goes for the target, which QEMU keeps, as it
        does what was touched."""
        self.born_at, self.actual, self.least = now, self.max, self.max
        self.used, self.cache = 20 * MIB, 0
        self.said, self.said_at = {}, None

    def speak(self, now: float) -> None:
        """Take statistics."""
        if self.is_up(now) and self.speaks and self.running:
            spare = self.actual - self.used
            self.said = {
                "total": self.max,
                "available": spare,
                "free": spare - self.cache,
                "caches": self.cache,
            }
            self.said_at = now

    def shown(self, now: float) -> Guest:
        """What an adapter would show of it."""
        return Guest(
            key=self.key,
            name=self.key,
            max=self.max,
            actual=self.actual,
            floor=self.floor,
            ceiling=self.ceiling,
            shares=self.shares,
            pid=self.pid,
            running=self.running,
            may_suspend=self.may_suspend,
            held=self.held,
            migrating=self.migrating,
            age_s=None if self.said_at is None else now - self.said_at,
            up_s=now - self.born_at,
            driver=self.is_up(now),
            resident=self.touched - self.swapped,
            swapped=self.swapped,
            overhead=self.overhead,
            total=self.said.get("total"),
            available=self.said.get("available"),
            free=self.said.get("free"),
            caches=self.said.get("caches"),
            swap_total=self.swap_total,
            swap_used=None if self.swap_total is None else self.swap_used + self.cold_swap,
        )


class World:
    """A host, its guests, and the loop that steps the real engine."""

    def __init__(
        self,
        guests: list[Tame],
        capacity: int,
        other: Callable[[float], int] = lambda now: 0,
        rules: Rules | None = None,
        swap: int = 0,
        calm_every_s: float = CALM_EVERY_S,
    ) -> None:
        """`swap`: bytes a second that the host can swap in, and out; 0: it cannot."""
        self.guests, self.capacity, self.other = guests, capacity, other
        self.engine = Engine(rules or Rules(reserve=Portion(share=0.05)), policy_named("ladder"))
        self.state: State = self.engine.start()
        self.now = 0.0
        self.over = 0
        """The most by which the host was ever overcommitted in fact, bytes."""
        self.promised = 0
        """To guests about to start, bytes."""
        self.broken: set[str] = set()
        """Invariants that a step broke."""
        self.asks = 0
        self.swap = swap
        self.relaxed: Collection[str] = ()
        self._calm_every = round(calm_every_s / STEP_S)
        self.swap_in = self.swap_out = 0
        self.decisions: list[tuple[float, AnyDecision]] = []

    @property
    def free(self) -> int:
        """Negative when the host is overcommitted."""
        held = sum(guest.touched - guest.swapped + guest.overhead for guest in self.guests)
        return self.capacity - self.other(self.now) - held

    def page(self) -> None:
        """One STEP_S of the host's swapping: guests that run bring back what they miss, stopped ones go out first."""
        most = round(self.swap * STEP_S)
        if not most:
            return
        for guest in self.guests:
            back = min(guest.swapped, most) if guest.running else 0
            guest.swapped -= back
            self.swap_in += back
            most -= back
        over = -self.free
        if over <= 0:
            return
        most = round(self.swap * STEP_S)
        for guest in sorted(self.guests, key=lambda guest: (guest.running, guest.swapped - guest.touched)):
            away = max(0, min(most, over, guest.touched - guest.swapped))
            guest.swapped += away
            self.swap_out += away
            most -= away
            over -= away

    def snapshot(self) -> Snapshot:
        """What sensing would see now."""
        free = self.free
        self.over = max(self.over, -free)
        host = Host(
            capacity=self.capacity,
            available=max(0, free),
            swap_in=self.swap_in,
            swap_out=self.swap_out,
            promised=self.promised,
        )
        return Snapshot(host=host, guests=tuple(guest.shown(self.now) for guest in self.guests))

    def tick(self) -> tuple[AnyDecision, ...]:
        """Sense, step, act."""
        before, snapshot = self.state, self.snapshot()
        self.state, decisions = self.engine.step(before, snapshot, self.now)
        found = violations(self.engine, before, snapshot, self.state, decisions, self.now)
        self.relaxed = calm(self.state, self.now, few=0)
        self.broken.update(violation.invariant for violation in found)
        self.carry_out(decisions)
        return decisions

    def carry_out(self, decisions: Iterable[AnyDecision]) -> None:
        """Do what was decided."""
        by_key = {guest.key: guest for guest in self.guests}
        for decision in decisions:
            self.decisions.append((self.now, decision))
            guest = by_key[decision.key]
            if isinstance(decision, SetTarget):
                if guest.lost:
                    guest.lost -= 1
                else:
                    guest.target = decision.size
                guest.moves.append((self.now, decision.size))
            elif isinstance(decision, Suspend | Resume) and guest.orders:
                guest.running = isinstance(decision, Resume)
                guest.stops.append(self.now)

    def run(self, seconds: float) -> None:
        """Let time pass as the daemon does: a tick a second, asks five times a second, early ticks."""
        for n in range(round(self.now / STEP_S), round((self.now + seconds) / STEP_S)):
            self.now = n * STEP_S
            for i, guest in enumerate(self.guests):
                guest.live(self.now)
                every = self._calm_every if guest.key in self.relaxed else 20
                if n % every == (i * 7) % every:
                    guest.speak(self.now)
            self.page()
            self.over = max(self.over, -self.free)
            due = n % 20 == 0
            if n % 4 == 0:
                asked = self.engine.curious(self.state, self.now)
                suspects = self.engine.suspects(self.state, self.now)
                for guest in self.guests:
                    runs = guest.need(self.now) != guest.need(self.now - 4 * STEP_S)
                    if guest.key in asked or (guest.key in suspects and runs):
                        self.asks += 1
                        guest.speak(self.now)
                        due = due or self.engine.near_edge(self.state, guest.shown(self.now), self.now)
            if due:
                self.tick()
        self.now += STEP_S
