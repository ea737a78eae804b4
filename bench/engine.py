"""How fast the engine decides: guest-ticks per second of one core, for 10 to 10 000 guests on a host that is too small.

The guests' use rises and falls, each in its own time, so that memory moves at every tick. Only `step` is timed, and in
processor time, so that what else runs here counts for little. Rounds are interleaved: a machine that becomes slower
meanwhile becomes so for every size.
"""

import math
import time
from collections.abc import Iterator
from statistics import median

import msgspec

from autoballoon.core.engine import Engine, Rules, State
from autoballoon.core.invariants import violations
from autoballoon.core.model import Guest, Host, SetTarget, Snapshot
from autoballoon.core.units import GIB, MIB
from autoballoon.policies import policy_named

SIZES = (10, 100, 1_000, 10_000)
ROUNDS = 5
GUEST_TICKS = 20_000
"""Guest-ticks in one measurement, at least: a third of a second."""
LEAST_TICKS = 6
WARM_UP = 4
"""Ticks before the first that is timed: guests are met, and begin to move."""
WANTED_RATE, WANTED_SPREAD = 50_000, 1.25
"""What it must reach: guest-ticks per second, and the cost of a guest against that of one of ten."""


def seen(guest: Guest, number: int, tick: int) -> Guest:
    """The guest as it reports at this tick: its use swings by 300 MiB around 400 MiB."""
    used = int((400 + 300 * math.sin(tick / 20 + number)) * MIB)
    total = guest.actual - 24 * MIB
    free = max(total - used, 8 * MIB) // 2
    return msgspec.structs.replace(
        guest, age_s=0.1, up_s=100.0 + tick, total=total, available=2 * free, free=free, caches=free,
        resident=guest.actual - free // 2,
    )  # fmt: skip


def ticks(count: int) -> Iterator[tuple[Snapshot, dict[str, int]]]:
    """Snapshot after snapshot of `count` guests of 1 GiB on a host with 640 MiB for each.

    With each comes an empty dictionary, for the targets that were set: the guests obey them before the next.
    """
    guests = [
        Guest(
            key=f"guest-{number}", name=f"guest-{number}", max=GIB, actual=GIB, floor=GIB // 4, pid=number + 1,
            driver=True, overhead=40 * MIB, swap_in=0, swap_out=0, major_faults=0,
        )
        for number in range(count)
    ]  # fmt: skip
    capacity = count * 640 * MIB
    tick = 0
    while True:
        guests = [seen(guest, number, tick) for number, guest in enumerate(guests)]
        held = sum((guest.resident or 0) + 40 * MIB for guest in guests)
        targets: dict[str, int] = {}
        yield Snapshot(Host(capacity, available=max(capacity - held, 0)), tuple(guests)), targets
        guests = [msgspec.structs.replace(g, actual=targets.get(g.key, g.actual)) for g in guests]
        tick += 1


class Cost(msgspec.Struct, frozen=True):
    """One measurement: seconds of processor time for one guest at one tick."""

    step: float
    check: float
    """Of the check of the invariants that follows each step in the daemon."""
    moves: float
    """Targets set for one guest at one tick."""


def cost_with(count: int) -> Cost:
    """The cost of a guest among `count`."""
    engine = Engine(Rules(), policy_named("ladder"))
    state: State = engine.start()
    stepping = checking = 0.0
    moves = 0
    timed = max(GUEST_TICKS // count, LEAST_TICKS)
    for tick, (snapshot, targets) in zip(range(-WARM_UP, timed), ticks(count), strict=False):
        before, now = state, float(tick)
        began = time.process_time()
        state, decisions = engine.step(before, snapshot, now)
        decided = time.process_time()
        found = violations(engine, before, snapshot, state, decisions, now)
        checked = time.process_time()
        assert not found, found
        targets |= {d.key: d.size for d in decisions if isinstance(d, SetTarget)}
        if tick >= 0:
            stepping += decided - began
            checking += checked - decided
            moves += len(targets)
    return Cost(stepping / count / timed, checking / count / timed, moves / count / timed)


def spread(values: list[float], form: str) -> str:
    """The median, and the range."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    rounds = [{count: cost_with(count) for count in SIZES} for _ in range(ROUNDS)]
    print(f"the engine, one core, {ROUNDS} interleaved rounds: median (range)")
    print(
        f"{'guests':>7}  {'guest-ticks/s':<27}{'cost against 10':<24}{'moves a tick':>13}  invariants checked"
    )
    reached = True
    for count in SIZES:
        rates = [1 / one[count].step for one in rounds]
        ratios = [one[count].step / one[SIZES[0]].step for one in rounds]
        checks = [100 * one[count].check / one[count].step for one in rounds]
        print(
            f"{count:>7}  {spread(rates, ',.0f'):<27}{spread(ratios, '.2f'):<24}"
            f"{median(one[count].moves for one in rounds):>12.0%}  + {spread(checks, '.1f')} %"
        )
        reached &= median(rates) >= WANTED_RATE and median(ratios) <= WANTED_SPREAD
    print(
        f"wanted: {WANTED_RATE:,} guest-ticks/s, and a cost of at most {WANTED_SPREAD} times that among 10: "
        f"{'reached' if reached else 'NOT reached'}"
    )


if __name__ == "__main__":
    main()
