"""Random histories of guests that may do and report anything within the schema, and a policy stepped through them.

Hypothesis chooses the seed and how much of a history is played; what happens in it comes from the seed. So a history is
long and lively from the first example on, and a failing one still shrinks to few ticks and few guests.
"""

from random import Random
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from autoballoon.core.engine import Engine, Rules, State
from autoballoon.core.model import AnyDecision, Guest, Host, SetTarget, Snapshot
from autoballoon.core.units import MIB, PAGE
from autoballoon.policies import policy_named

GAPS = (0.2, 1.0, 1.0, 4.0, 31.0)
"""Seconds between two ticks."""
MOODS = ("obeys", "obeys", "obeys", "lags", "lags", "jumps")
"""At one tick a guest has gone to its target, stands where it stood, or has any size whatever."""
RESTS = 3
"""Ticks for which half of those that have jumped stand where they are, as one that an operator has set does."""


class Tick(NamedTuple):
    now: float
    host: Host
    guests: tuple[tuple[str, Guest], ...]
    """Each with its mood; `actual` is what it has when it jumps."""


History = list[Tick]


def _look(dice: Random, most: int) -> dict[str, Any]:
    """What one look at a guest of `most` bytes may show."""
    talks = dice.random() < 0.9
    return {
        "actual": dice.randint(1, most // PAGE) * PAGE,
        "running": dice.random() < 0.97,
        "managed": dice.random() < 0.97,
        "driver": dice.choice((True, True, True, True, True, None, False)),
        "up_s": dice.choice((5.0, 100.0, 100.0, 100.0, None)),
        "age_s": dice.choice((0.0, 0.0, 0.0, 0.1, 0.9, 3.0, 60.0)) if talks else None,
        "total": most if talks else None,
        "available": round(most * dice.random() ** 2) if talks else None,
        "free": dice.choice((None, dice.randint(0, most))),
        "caches": dice.choice((None, dice.randint(0, most))),
        "swap_in": dice.choice((None, dice.randint(0, 10**10))),
        "resident": dice.choice((None, None, dice.randint(0, most))),
        "overhead": dice.choice((None, dice.randint(0, 80 * MIB))),
        "deflates_itself": dice.choice((True, False, None)),
        "swap_total": dice.choice((None, 0, most)),
        "swap_used": dice.choice((None, 0, most // 2)),
        "migrating": dice.random() < 0.05,
        "headroom": dice.choice((None, None, 0, most // 10, most)),
        "refaults": dice.choice((None, dice.randint(0, 10**7))),
        "psi_some_s": dice.choice((None, dice.uniform(0.0, 1e4))),
        "alloc_stalls": dice.choice((None, dice.randint(0, 10**6))),
        "oom_kills": dice.choice((None, dice.randint(0, 3))),
    }


def _life(seed: str, key: str, ticks: int) -> list[tuple[str, Guest]]:
    """One guest over `ticks` looks."""
    dice = Random(f"{seed} {key}")
    most = dice.randint(1, 1024) * MIB
    floor = dice.choice((most // 4, dice.randint(0, most)))
    ceiling = dice.choice((0, dice.randint(floor, most) or most))
    shares = dice.choice((1, 500, 1000, 4000))
    may_suspend = dice.random() < 0.7
    return [
        (
            mood,
            Guest(
                key=key,
                name=key,
                max=most,
                floor=floor,
                ceiling=ceiling,
                shares=shares,
                pid=1,
                may_suspend=may_suspend,
                **_look(dice, most),
            ),
        )
        for mood in _moods(dice, ticks)
    ]


def _moods(dice: Random, ticks: int) -> list[str]:
    moods: list[str] = []
    while len(moods) < ticks:
        moods.append(dice.choice(MOODS))
        if moods[-1] == "jumps" and dice.random() < 0.5:
            moods += ["lags"] * RESTS
    return moods[:ticks]


def history(seed: int, ticks: int, count: int) -> History:
    """The history of that seed: so many ticks of so many guests."""
    lives = [_life(f"{seed}", f"g{number}", ticks) for number in range(count)]
    dice = Random(f"{seed} host")
    most = sum(life[0][1].max for life in lives)
    capacity = round(most * dice.uniform(0.2, 1.5)) + MIB
    roomy = dice.random() < 0.3
    now, told = 10.0, []
    for tick in range(ticks):
        available = capacity if roomy else dice.randint(0, capacity)
        told.append(Tick(now, Host(capacity, available), tuple(life[tick] for life in lives)))
        now += dice.choice(GAPS)
    return told


def histories() -> st.SearchStrategy[History]:
    """Up to forty ticks of up to five guests, on a host that may be far too small or nearly empty."""
    ticks, count = st.sampled_from((1, 4, 12, 40)), st.sampled_from((1, 2, 3, 5, 0))
    return st.builds(history, st.integers(0, 2**32), ticks=ticks, count=count)


class Step(NamedTuple):
    """One step, in the order in which core.invariants takes it."""

    engine: Engine
    before: State
    snapshot: Snapshot
    after: State
    decisions: tuple[AnyDecision, ...]
    now: float


def play(ticks: History, policy: str = "ladder", rules: Rules | None = None) -> list[Step]:
    """A policy stepped through a history."""
    engine = Engine(rules or Rules(), policy_named(policy))
    state = engine.start()
    sizes: dict[str, int] = {}
    targets: dict[str, int] = {}
    steps = []
    for now, host, guests in ticks:
        for mood, guest in guests:
            stood = sizes.get(guest.key, guest.actual)
            sizes[guest.key] = {"jumps": guest.actual, "lags": stood}.get(mood, targets.get(guest.key, stood))
        shown = tuple(msgspec.structs.replace(guest, actual=sizes[guest.key]) for _, guest in guests)
        snapshot = Snapshot(host, shown)
        after, decisions = engine.step(state, snapshot, now)
        targets |= {d.key: d.size for d in decisions if isinstance(d, SetTarget)}
        steps.append(Step(engine, state, snapshot, after, decisions, now))
        state = after
    return steps
