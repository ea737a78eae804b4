"""Who gives up need, and how much, when guests have swap of their own."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.engine import Rules
from autoballoon.core.model import Guest, Reason
from autoballoon.core.units import MIB
from autoballoon.policies.guest_swap import spare_swap, take
from tests.core.world import Tame, World


class Bounds(msgspec.Struct, frozen=True):
    floor: int
    need: int
    swapped: int = 0
    refused: int = 0


def guest(swap_mib: int | None = None, used_mib: int | None = 0, shares: int = 1000) -> Guest:
    total = None if swap_mib is None else swap_mib * MIB
    used = None if used_mib is None else used_mib * MIB
    return Guest(
        key="g", name="g", max=1 << 30, actual=1 << 30, shares=shares, swap_total=total, swap_used=used
    )


def taken(guests: list[Guest], needs: list[int], pool: int, floor: int = 50) -> tuple[list[int], int]:
    """All in MiB."""
    rungs = [Bounds(floor * MIB, need * MIB) for need in needs]
    sizes, left = take(guests, rungs, [rung.need for rung in rungs], pool * MIB)
    return [size // MIB for size in sizes], left // MIB


@pytest.mark.parametrize(
    ("one", "spare"),
    [
        (guest(), 0),
        (guest(None, 0), 0),
        (guest(400, None), 0),
        (guest(0), 0),
        (guest(400), 300),
        (guest(400, 250), 50),
        (guest(400, 350), 0),
        (guest(400, 900), 0),
    ],
)
def test_a_quarter_of_the_swap_stays_free(one: Guest, spare: int) -> None:
    assert spare_swap(one) == spare * MIB


def test_without_swap_of_their_own_nobody_gives() -> None:
    assert taken([guest(), guest()], [400, 400], 600) == ([400, 400], 200)


def test_those_with_swap_share_what_there_is() -> None:
    assert taken([guest(800), guest(800)], [400, 400], 600) == ([300, 300], 0)


def test_shares_decide_who_keeps_more() -> None:
    # Over the floors of 50 there are 500 to hand out, 3 : 1.
    assert taken([guest(800, shares=3000), guest(800)], [500, 400], 600) == ([425, 175], 0)


def test_one_gives_only_what_its_swap_takes_and_the_host_swaps_the_rest() -> None:
    assert taken([guest(80), guest(800)], [400, 400], 600) == ([340, 300], 40)


def test_one_without_swap_costs_the_other_no_more_than_its_fair_share() -> None:
    # The fair share of both is 300: what the first does not give is not the second's to make up for.
    assert taken([guest(), guest(800)], [400, 400], 600) == ([400, 300], 100)


def test_a_small_need_is_met_whole() -> None:
    assert taken([guest(2000), guest(2000)], [900, 100], 800) == ([700, 100], 0)


def test_nobody_is_left_below_its_floor_however_small_the_pool() -> None:
    assert taken([guest(2000), guest(2000)], [400, 300], 60) == ([50, 50], 40)


@given(st.data())
def test_nothing_that_others_report_takes_a_guests_fair_share(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 5))
    floors = [data.draw(st.integers(0, 100)) for _ in range(count)]
    needs = [floor + data.draw(st.integers(0, 500)) for floor in floors]
    shares = [data.draw(st.sampled_from([1, 500, 1000, 4000])) for _ in range(count)]
    guests = [
        guest(data.draw(st.one_of(st.none(), st.integers(0, 1000))), data.draw(st.integers(0, 1000)), share)
        for share in shares
    ]
    pool = data.draw(st.integers(0, sum(needs)))
    rungs = [Bounds(floor * MIB, need * MIB) for floor, need in zip(floors, needs, strict=True)]
    sizes, left = take(guests, rungs, [rung.need for rung in rungs], pool * MIB)
    alike = max(0, pool - sum(floors)) * MIB // sum(shares)
    for one, rung, size, share in zip(guests, rungs, sizes, shares, strict=True):
        assert rung.floor <= size <= rung.need
        assert rung.need - size <= spare_swap(one)
        assert size >= min(rung.need, rung.floor + alike * share)
    assert left == max(0, sum(sizes) - pool * MIB)


def overloaded(*guests: Tame) -> World:
    """Guests that need 300 MiB each, on a host of 1000 MiB that guests' own swap may relieve."""
    world = World(list(guests), 1000 * MIB, rules=Rules(overload="guest-swap"))
    world.run(120)
    return world


def needy(key: str, swap: int | None) -> Tame:
    return Tame(
        key,
        lambda now: round(min(300, max(60, 60 + (now - 20) * 150))) * MIB,
        swap_total=None if swap is None else swap * MIB,
    )


def test_guests_with_swap_use_it_and_the_host_is_not_overcommitted() -> None:
    world = overloaded(*(needy(f"g{i}", 800) for i in range(4)))
    assert all(g.swap_used > 50 * MIB for g in world.guests)
    assert world.state.account is not None
    assert world.state.account.guarantee
    assert world.free > 0
    assert all(g.actual >= g.floor for g in world.guests)


def test_without_a_reading_nothing_is_taken() -> None:
    world = overloaded(*(needy(f"g{i}", None) for i in range(4)))
    assert Reason.TAKE_NEED not in {d.reason for _, d in world.decisions}
    assert world.state.wishes is not None
    assert world.state.wishes.over == world.state.wishes.excess > 0


def test_targets_come_to_rest() -> None:
    world = overloaded(*(needy(f"g{i}", 800) for i in range(4)))
    moves = [len(guest.moves) for guest in world.guests]
    world.run(120)
    assert [len(guest.moves) for guest in world.guests] == moves


def test_what_it_has_in_its_swap_already_is_not_taken_again() -> None:
    rungs = [Bounds(50 * MIB, 400 * MIB, swapped=100 * MIB), Bounds(50 * MIB, 400 * MIB)]
    sizes, left = take([guest(80), guest(800)], rungs, [400 * MIB] * 2, 600 * MIB)
    assert ([size // MIB for size in sizes], left) == ([300, 300], 0)


def test_one_that_is_held_gives_nothing() -> None:
    held = msgspec.structs.replace(guest(800), held=True)
    assert taken([held, guest(800)], [400, 400], 600) == ([400, 300], 100)
