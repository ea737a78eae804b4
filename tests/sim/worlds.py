"""Small worlds for the simulator's tests, written as a scenario file is."""

from random import Random

from autoballoon.sim.course import course_of
from autoballoon.sim.guest import Guest
from autoballoon.sim.keeper import Daemon, Keeper
from autoballoon.sim.run import keeper_of
from autoballoon.sim.scenario import Scenario, parse
from autoballoon.sim.world import World

HOST = """
says = "A test."
duration = "{duration}"
step = "50ms"
[host]
ram = "{ram}"
swap = "{swap}"
own = {own}
"""


def scenario(
    guests: str,
    *,
    duration: str = "60s",
    ram: str = "8GiB",
    swap: str = "8GiB",
    own: str = '"0MiB"',
    more: str = "",
) -> Scenario:
    """A scenario with these tables of guests; `more` comes after them."""
    return parse(HOST.format(duration=duration, ram=ram, swap=swap, own=own) + guests + more)


def guest_of(**keys: str | int | bool) -> str:
    """A [[guests]] table."""
    wanted: dict[str, str | int | bool] = {"name": "g", "max": "1GiB", "need": "100MiB"}
    wanted |= keys
    lines = [
        f"{key} = {str(value).lower() if isinstance(value, bool | int) else value if value[0] in '[{' else repr(value)}"
        for key, value in wanted.items()
    ]
    return "[[guests]]\n" + "\n".join(lines) + "\n"


def living(**keys: str | int | bool) -> Guest:
    """One guest that is up at 0."""
    group = scenario(guest_of(**keys)).guests[0]
    return Guest(group, group.name, course_of(group.need, 60.0, Random(1)), Random(1))


def live(
    guest: Guest, seconds: float, *, begin: float = 0.0, dt: float = 0.05, waits_s: float = 0.0
) -> float:
    """Let it live by itself on a host that never swaps; the time it has become."""
    steps = round(seconds / dt)
    for n in range(1, steps + 1):
        guest.live(begin + n * dt, dt)
        guest.settle(dt, waits_s)
    return begin + seconds


def world(one: Scenario, policy: str = "static", *, keeper: Keeper | None = None, seed: int = 1) -> World:
    """A world that has not begun."""
    return World(one, keeper or keeper_of(one, policy), seed)


def daemon(one: World) -> Daemon:
    """Its daemon."""
    assert isinstance(one.keeper, Daemon)
    return one.keeper
