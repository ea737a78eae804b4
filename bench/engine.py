"""How fast the engine decides: guest-ticks per second of one core, for 10 to 1 000 guests on a host that is too small.

The guests' use rises and falls, each in its own time, so that memory moves at every tick. Nothing but `step` is timed.
"""

import math
import time

import msgspec

from autoballoon.core.engine import Engine, Rules
from autoballoon.core.model import Guest, Host, SetTarget, Snapshot
from autoballoon.core.units import GIB, MIB
from autoballoon.policies import policy_named

TICKS = 20_000
"""Guest-ticks in one measurement: about a second's worth."""


def seen(guest: Guest, number: int, tick: int) -> Guest:
    """The guest as it reports at this tick: its use swings by 300 MiB around 400 MiB."""
    used = int((400 + 300 * math.sin(tick / 20 + number)) * MIB)
    total = guest.actual - 24 * MIB
    free = max(total - used, 8 * MIB) // 2
    return msgspec.structs.replace(
        guest, age_s=0.1, up_s=100.0 + tick, total=total, available=2 * free, free=free, caches=free,
        resident=guest.actual - free // 2,
    )  # fmt: skip


def guest_ticks_per_second(count: int) -> tuple[float, int]:
    """(guest-ticks per second, targets moved) with `count` guests of 1 GiB on a host with 640 MiB for each."""
    engine = Engine(Rules(), policy_named("ladder"))
    state = engine.start()
    guests = [
        Guest(
            key=f"guest-{number}", name=f"guest-{number}", max=GIB, actual=GIB, floor=GIB // 4, pid=number + 1,
            driver=True, overhead=40 * MIB, swap_in=0, swap_out=0, major_faults=0,
        )
        for number in range(count)
    ]  # fmt: skip
    capacity = count * 640 * MIB
    spent, moved = 0.0, 0
    ticks = max(TICKS // count, 10)
    for tick in range(ticks):
        guests = [seen(guest, number, tick) for number, guest in enumerate(guests)]
        held = sum((guest.resident or 0) + 40 * MIB for guest in guests)
        host = Host(capacity=capacity, available=max(capacity - held, 0))
        snapshot = Snapshot(host, tuple(guests))
        began = time.perf_counter()
        state, decisions = engine.step(state, snapshot, float(tick))
        spent += time.perf_counter() - began
        targets = {d.key: d.size for d in decisions if isinstance(d, SetTarget)}
        moved += len(targets)
        guests = [msgspec.structs.replace(g, actual=targets.get(g.key, g.actual)) for g in guests]
    return count * ticks / spent, moved


def main() -> None:
    print(f"{'guests':>8} {'guest-ticks/s':>14} {'us each':>8} {'moves':>7}")
    for count in (10, 100, 1000):
        rate, moved = guest_ticks_per_second(count)
        print(f"{count:>8} {rate:>14,.0f} {1e6 / rate:>8.1f} {moved:>7}")


if __name__ == "__main__":
    main()
