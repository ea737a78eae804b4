"""XAPI's published scenarios for its memory manager (xen-api: ocaml/squeezed/test/squeeze_test.ml), KiB made MiB.

There memory is asked for on a host on which none is free; here the host's own processes take it. Each has to come out
as published under squeezed's rule, and under the ladder. What cannot be had (c, d) is not given by anybody. Then 500 of
it are used, and the rest goes back to the guests, until at most 32 are free: so under squeezed's rule; the ladder keeps
its reserve and a cushion. Two of XAPI's, f and g, switch off parts of its program, and have no counterpart.
"""

import pytest

from autoballoon.core.units import MIB
from autoballoon.sim.run import world_of
from autoballoon.sim.scenario import parse
from autoballoon.sim.world import World

OWN, OVERHEAD, RESERVE = 512, 60, 200
TAKEN_AT_S, UNTIL_S = 20, 120
USED, MOST_FREE = 500, 32
KEPT = 72
"""What squeezed leaves with the host."""


def vm(name: str, floor: int, actual: int, most: int, **more: str) -> str:
    """A guest that needs little, and has the rest full of files: as in Xen it holds all of its size."""
    lines = {"name": name, "character": "slow", "max": f"{most}MiB", "size": f"{actual}MiB"} | more
    table = "".join(f"{key} = {value!r}\n" for key, value in lines.items())
    return f"[[guests]]\n{table}floor = '{floor}MiB'\nneed = '100MiB'\nfiles = '8GiB'\nread = '10GiB'\ndisk = '10GiB'\n"


def speed(mib: int) -> dict[str, str]:
    """How fast a guest's balloon moves, MiB a second."""
    return {"inflate": f"{mib}MiB", "deflate": f"{mib}MiB"}


def sticky(every: str) -> dict[str, str]:
    """Its balloon stands still for half of this time."""
    return {"character": "sometimes-stuck", "every": every, "stuck": f"{float(every[:-1]) / 2}s"}


LIMITED = {"character": "lower-limit"}
CASES = {
    "a": (
        [vm("small", 1000, 1500, 2000, limit="1250MiB", **LIMITED, **speed(100)),
         vm("large", 2500, 3500, 4500, **sticky("0.5s"), **speed(500))],
        5000, 1000, True,
    ),
    "b": (
        [vm("one", 500, 3500, 4500, **sticky("6s"), **speed(100)),
         vm("two", 500, 1500, 2500, **sticky("3s"), **speed(100))],
        5000, 1000, True,
    ),
    "c": ([vm("one", 1000, 1500, 2000, **speed(100)), vm("two", 2000, 2500, 3000, **speed(100))], 4000, 1500, False),
    "d": (
        [vm("one", 1000, 1500, 2000, **speed(100)),
         vm("two", 2000, 2500, 3000, limit="2250MiB", **LIMITED, **speed(100))],
        4000, 1000, False,
    ),
    "e": (
        [vm("stuck", 5000, 7000, 7000, character="stuck"), vm("works", 5000, 6000, 11000, **speed(100))],
        13000, 1000, True,
    ),
}  # fmt: skip


def host(held: int, guests: list[str], taken: int, used: int | None = None) -> str:
    """A host where nothing is free but the reserve; it takes so much for itself, and keeps `used` in the end (MiB)."""
    ram = held + OVERHEAD * len(guests) + OWN + RESERVE
    own = f"['{TAKEN_AT_S}s', '{OWN}MiB'], ['{TAKEN_AT_S}s', '{OWN + taken}MiB']"
    until_s = UNTIL_S
    if used is not None:
        own += f", ['{UNTIL_S}s', '{OWN + taken}MiB'], ['{UNTIL_S}s', '{OWN + used}MiB']"
        until_s *= 2
    return (
        f"says = 'XAPI'\nduration = '{until_s}s'\nstep = '100ms'\n[host]\nram = '{ram}MiB'\nreserve = '{RESERVE}MiB'\n"
        f"swap = '8GiB'\nown = [{own}]\n" + "".join(guests)
    )


def free(world: World, *, promised: bool = False) -> float:
    """MiB that would be free, were nothing swapped; with `promised`, had everybody also taken what it may."""
    sizes = (max(guest.actual, guest.target if promised else 0) for guest in world.guests)
    overhead = sum(guest.overhead(world.now) for guest in world.guests)
    return (world.host.ram - world.host.own - sum(sizes) - overhead) / MIB


@pytest.mark.parametrize("policy", ["squeezed", "ladder"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_asked_for_is_freed_where_it_can_be(case: str, policy: str) -> None:
    guests, held, taken, succeeds = CASES[case]
    world = world_of(parse(host(held, guests, taken)), policy, 1)
    world.run([])
    kept = RESERVE if policy == "ladder" else KEPT
    assert (free(world) >= kept - 8) is succeeds, f"{free(world):.0f} MiB would be free, were nothing swapped"


@pytest.mark.parametrize("case", [case for case, (_, _, _, succeeds) in CASES.items() if succeeds])
def test_what_was_freed_stays_free_and_what_is_not_used_goes_back(case: str) -> None:
    guests, held, taken, _ = CASES[case]
    world = world_of(parse(host(held, guests, taken, USED)), "squeezed", 1)
    freed: list[float] = []
    world.run([lambda world: freed.append(free(world, promised=True)) if world.now < UNTIL_S else None])
    assert freed[-1] >= KEPT - 1, "no target leads below what was freed"
    assert KEPT - 1 <= free(world, promised=True) <= free(world) <= KEPT + MOST_FREE


@pytest.mark.parametrize("policy", ["squeezed", "ladder"])
def test_h_who_can_take_what_is_free_takes_it(policy: str) -> None:
    limited = vm("limited", 1000, 1500, 2000, character="upper-limit", limit="1500MiB", **speed(100))
    guests = [limited, vm("works", 1000, 1500, 2000, **speed(100))]
    world = world_of(parse(host(4000, guests, 0)), policy, 1)
    world.run([])
    assert world.guest("limited").actual <= 1500 * MIB
    assert world.guest("works").actual >= 1900 * MIB, "all but what is not worth a move"
