"""A world: a host and its guests, from a scenario and a seed, lived through in small steps."""

from collections.abc import Callable, Sequence
from random import Random

from autoballoon.core.units import page_floor
from autoballoon.sim.course import course_of
from autoballoon.sim.guest import Guest
from autoballoon.sim.happenings import (
    Crash,
    Happening,
    Hold,
    Leave,
    Reset,
    Room,
    SetByHand,
    Start,
    ToGuest,
    Unhold,
    Unpause,
)  # fmt: skip
from autoballoon.sim.host import Host
from autoballoon.sim.keeper import Daemon, Keeper
from autoballoon.sim.scenario import Scenario

Watch = Callable[["World"], None]
"""Called after each step."""


class World:
    """One run of a scenario. The same scenario, seed and keeper give the same world."""

    def __init__(self, scenario: Scenario, keeper: Keeper, seed: int = 1) -> None:
        self.scenario, self.keeper, self.seed = scenario, keeper, seed
        self.now = 0.0
        until = float(scenario.duration)
        self.guests: list[Guest] = []
        for group in scenario.guests:
            for number, name in enumerate(group.names()):
                rng = Random(f"{seed} {name}")
                course = group.course(number, until, rng)
                self.guests.append(Guest(group, name, course, rng, number))
        own = course_of(scenario.host.own, until, Random(f"{seed} the host"))
        self.host = Host(scenario.host, own)
        self._by_name = {guest.name: guest for guest in self.guests}
        self._happens = sorted(scenario.happens, key=lambda one: one.at)
        self._changes = sorted(
            at for guest in self.guests for at in (guest.begins, guest.group.ends) if at is not None
        )
        self.there = [guest for guest in self.guests if guest.there]

    def guest(self, name: str) -> Guest:
        """The guest of that name."""
        return self._by_name[name]

    def run(self, watches: Sequence[Watch] = ()) -> None:
        """Live through the scenario."""
        dt = float(self.scenario.step)
        steps = round(self.scenario.duration / dt)
        self.host.live(self.there, 0.0, dt)
        for guest in self.guests:
            guest.work_s = guest.lost_s = 0.0
        self.keeper.begin(self.host, self.there, 0.0)
        for n in range(1, steps + 1):
            self.now = now = round(n * dt, 6)
            self._come_and_go(now)
            self._let_happen(now)
            for guest in self.guests:
                if guest.there:
                    guest.live(now, dt)
                elif guest.killed_by_host:
                    guest.lost_s += dt
            self.host.live(self.there, now, dt)
            if any(not guest.there for guest in self.there):
                self.there = [guest for guest in self.there if guest.there]
            self.keeper.step(self.there, now)
            for watch in watches:
                watch(self)

    def _let_happen(self, now: float) -> None:
        while self._happens and self._happens[0].at <= now:
            self._let_one_happen(self._happens.pop(0), now)

    def _come_and_go(self, now: float) -> None:
        while self._changes and self._changes[0] <= now:
            self._changes.pop(0)
            for guest in self.guests:
                begins, ends = guest.begins, guest.group.ends
                begun = begins is None or begins <= now
                guest.there = begun and not (ends is not None and ends <= now) and not guest.killed_by_host
            self.there = [guest for guest in self.guests if guest.there]

    def _let_one_happen(self, happening: Happening, now: float) -> None:
        if isinstance(happening, ToGuest):
            guest = self._by_name[happening.guest]
            if not guest.there:
                return
            match happening:
                case SetByHand(size=size):
                    guest.order(page_floor(size))
                case Reset():
                    guest.reset(now)
                case _:
                    guest.running = isinstance(happening, Unpause)
        elif isinstance(self.keeper, Daemon):  # the oracle does not die, and takes no orders
            _let_happen_to(self.keeper, happening, now)


def _let_happen_to(daemon: Daemon, happening: Happening, now: float) -> None:
    if daemon.awake is isinstance(happening, Start):
        return  # it runs already, or there is nobody to hear that
    match happening:
        case Leave():
            daemon.leave(now)
        case Crash():
            daemon.crash()
        case Start():
            daemon.start(now)
        case Hold(guest=name):
            daemon.hold(name)
        case Unhold(guest=name):
            daemon.unhold(name)
        case Room(size=size, guest=for_whom, timeout=timeout_s):
            daemon.room(size, for_whom, timeout_s, now)
