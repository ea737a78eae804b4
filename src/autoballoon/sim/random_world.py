"""Scenarios made at random: any characters, sizes and lives, on hosts that may be much too small."""

from collections.abc import Callable
from random import Random
from typing import Any

from autoballoon.core.units import GIB, MIB, Portion
from autoballoon.sim.characters import (
    Byzantine,
    CacheHungry,
    Character,
    Greedy,
    Honest,
    LowerLimit,
    LyingAgent,
    LyingHigh,
    LyingLow,
    NoDriver,
    Rebooting,
    Slow,
    SometimesStuck,
    Stale,
    Stuck,
    Swapping,
    UpperLimit,
    Windows,
)
from autoballoon.sim.course import Bursts, Diurnal, Points, Sawtooth, Seconds, Shape, Size, Steady, Walk
from autoballoon.sim.happenings import (
    Crash,
    Happening,
    Hold,
    Leave,
    Pause,
    Reset,
    Room,
    SetByHand,
    Start,
    Unhold,
    Unpause,
)
from autoballoon.sim.host import HostSpec
from autoballoon.sim.scenario import Scenario

_EXTRA: dict[type[Any], Callable[[Random, int, float], dict[str, Any]]] = {
    Honest: lambda rng, most, until: {},
    Slow: lambda rng, most, until: {},
    Stuck: lambda rng, most, until: {"since": Seconds(rng.uniform(0, until))},
    SometimesStuck: lambda rng, most, until: {"every": Seconds(rng.uniform(4, 20)), "stuck": Seconds(4)},
    LowerLimit: lambda rng, most, until: {"limit": _size(rng, most)},
    UpperLimit: lambda rng, most, until: {"limit": _size(rng, most)},
    NoDriver: lambda rng, most, until: {},
    Stale: lambda rng, most, until: {"since": Seconds(rng.uniform(0, until))},
    LyingHigh: lambda rng, most, until: {},
    LyingLow: lambda rng, most, until: {},
    Greedy: lambda rng, most, until: {},
    CacheHungry: lambda rng, most, until: {},
    Swapping: lambda rng, most, until: {},
    Windows: lambda rng, most, until: {},
    Rebooting: lambda rng, most, until: {"every": Seconds(rng.uniform(8, until)), "first": Seconds(5)},
    LyingAgent: lambda rng, most, until: {},
    Byzantine: lambda rng, most, until: {},
}
"""What each character must be told, beside what all are."""


def random_world(rng: Random) -> Scenario:
    """A scenario of up to a minute with one to six guests; the same draws give the same scenario."""
    until = float(rng.choice([20, 40, 60]))
    groups = [_group(rng, f"g{number}", until) for number in range(rng.randint(1, 6))]
    memory = sum(group.max for group in groups)
    ram = Size(max(512 * MIB, int(memory * rng.choice([0.3, 0.5, 0.7, 1.0, 2.0]))))
    host = HostSpec(
        ram=ram,
        reserve=Portion(share=rng.choice([0.0, 0.02, 0.05, 0.2])),
        overload=rng.choice(["host-swap", "guest-swap", "suspend"]),
        own=_shape(rng, ram // 3, until),
        swap=Size(rng.choice([0, 2 * memory])),
    )
    return Scenario(
        says="A world made at random.",
        duration=Seconds(until),
        step=Seconds(rng.choice([0.05, 0.1, 0.2, 0.5])),
        host=host,
        guests=groups,
        happens=_happens(rng, groups, until),
    )


def _size(rng: Random, most: int) -> Size:
    return Size(rng.randint(16 * MIB, max(16 * MIB, most)))


def _shape(rng: Random, most: int, until: float) -> Shape:
    """Any life with sizes up to `most`."""
    low, high = sorted((_size(rng, most), _size(rng, most)))
    seconds = Seconds(rng.uniform(2.0, until))
    shapes: list[Shape] = [
        Steady(size=low),
        Points(points=[(Seconds(0), low), (seconds, low), (Seconds(seconds + rng.uniform(0, 10)), high)]),
        Sawtooth(low=low, high=high, every=seconds, rise=Seconds(rng.uniform(0.1, 5)), hold=Seconds(2)),
        Diurnal(low=low, high=high, day=seconds, spread=Seconds(rng.uniform(0, seconds))),
        Bursts(low=low, high=high, every=seconds, lasts=Seconds(rng.uniform(0.5, 5))),
        Walk(low=low, high=high, every=Seconds(rng.uniform(1, 5)), step=Size(max(MIB, (high - low) // 2))),
    ]
    return rng.choice(shapes)


def _group(rng: Random, name: str, until: float) -> Character:
    kind = rng.choice(list(_EXTRA))
    most = rng.choice([256 * MIB, 512 * MIB, GIB, 3 * GIB])
    files = rng.choice([0, most // 2, 2 * most])
    lives: dict[str, Any] = _EXTRA[kind](rng, most, until)
    if rng.random() < 0.3:
        lives["starts"] = Seconds(rng.uniform(0, until / 2))
    if rng.random() < 0.1:
        lives["ends"] = Seconds(until * 0.7)
    if rng.random() < 0.1:
        lives["migrates"] = Seconds(rng.uniform(0, until))
    if rng.random() < 0.2:
        lives["swap"] = Size(most)
    made = kind(
        name=name,
        max=Size(most),
        size=rng.choice([None, _size(rng, most)]),
        floor=Portion(share=rng.choice([0.0, 0.1, 0.25, 0.6, 1.0])),
        ceiling=Portion(share=rng.choice([0.5, 0.9, 1.0])),
        headroom=Portion(share=rng.choice([0.0, 0.25, 1.0])),
        shares=rng.choice([1, 500, 1000, 4000]),
        manage=rng.random() > 0.05,
        may_suspend=rng.random() < 0.4,
        need=_shape(rng, most * 9 // 8, until),
        pass_=Seconds(rng.choice([0.1, 1, 10])),
        files=Size(files),
        warm=Size(files // rng.choice([2, 10])),
        deflates_itself=rng.random() < 0.7,
        reporting=rng.random() < 0.2,
        agent=rng.random() < 0.5,
        answers_when_asked=rng.random() < 0.8,
        **lives,
    )
    assert isinstance(made, Character)
    return made


def _happens(rng: Random, groups: list[Character], until: float) -> list[Happening]:
    """A few things at random times; a paused guest is let run again, a dead daemon is started again or not."""
    happens: list[Happening] = []
    for _ in range(rng.randint(0, 3)):
        at, guest = Seconds(rng.uniform(1, until)), rng.choice(groups)
        later = Seconds(at + rng.uniform(1, 10))
        happens += rng.choice(
            [
                [SetByHand(at=at, guest=guest.name, size=_size(rng, guest.max))],
                [Reset(at=at, guest=guest.name)],
                [Pause(at=at, guest=guest.name), Unpause(at=later, guest=guest.name)],
                [Crash(at=at), Start(at=later)],
                [Leave(at=at)],
                [Hold(at=at, guest=guest.name), *rng.choice([[], [Unhold(at=later, guest=guest.name)]])],
                [Room(at=at, size=_size(rng, GIB), guest=rng.choice([None, guest.name]), timeout=Seconds(5))],
            ]
        )
    return happens
