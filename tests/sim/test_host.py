"""The host's swap: who goes out first, what it costs, and that no page is lost."""

import pytest

from autoballoon.core.units import MIB
from autoballoon.sim.world import World
from tests.sim.worlds import guest_of, scenario, world


def check_books(one: World) -> None:
    """Nothing is held that was not touched, and nothing is held twice."""
    for guest in one.there:
        assert -1 <= guest.pages.swapped_hot <= guest.pages.hot + 1
        assert -1 <= guest.pages.swapped_cold <= guest.pages.touched - guest.pages.hot + 1
        assert guest.resident >= -1
    swapped = sum(guest.pages.swapped for guest in one.guests)
    assert swapped <= one.host.spec.swap + MIB
    assert one.host.swap_out - one.host.swap_in >= swapped - MIB


def test_with_room_nothing_is_swapped() -> None:
    one = world(scenario(guest_of(need="500MiB", files="300MiB"), ram="2GiB"))
    one.run([check_books])
    assert one.host.swap_in == one.host.swap_out == 0
    assert one.guests[0].lost_s == 0


def test_what_nobody_uses_goes_out_first_and_hurts_nobody() -> None:
    idle = guest_of(name="idle", need='[["1s", "900MiB"], ["2s", "50MiB"]]')
    busy = guest_of(name="busy", need='[["20s", "50MiB"], ["30s", "700MiB"]]')
    one = world(scenario(idle + busy, ram="1400MiB"))
    one.run([check_books])
    assert one.host.swap_out > 200 * MIB
    assert one.guest("idle").pages.swapped_hot == 0
    assert one.guest("busy").lost_s < 5


def test_needs_that_exceed_the_host_make_it_swap_in_and_out_and_cost_time() -> None:
    one = world(scenario(guest_of(count=4, need="500MiB"), ram="1600MiB"))
    one.run([check_books])
    assert one.host.swap_in > 1000 * MIB
    assert sum(guest.lost_s for guest in one.guests) > 60
    # The device moves no more than it can.
    assert one.host.swap_in + one.host.swap_out < one.host.spec.swap_rate * 60 * 1.2 + 700 * MIB


def test_who_touches_its_memory_less_often_goes_out_first() -> None:
    rare, often = (
        guest_of(name="rare", need="600MiB", **{"pass": "30s"}),
        guest_of(name="often", need="600MiB"),
    )
    one = world(scenario(rare + often, ram="1200MiB"))
    one.run([check_books])
    assert one.guest("rare").pages.swapped_hot > 3 * one.guest("often").pages.swapped_hot


def test_when_swap_is_full_the_largest_guest_is_killed_and_loses_all_its_time() -> None:
    large = guest_of(name="large", need='[["10s", "100MiB"], ["20s", "900MiB"]]')
    one = world(scenario(large + guest_of(name="small", need="300MiB"), ram="900MiB", swap="100MiB"))
    one.run()
    assert one.host.kills == ["large"]
    assert [guest.name for guest in one.there] == ["small"]
    assert one.guest("large").lost_s > 35


def test_a_host_that_is_too_small_for_itself_has_nobody_to_kill() -> None:
    starts = guest_of(starts="500ms")
    one = world(scenario(starts, ram="1GiB", swap="0MiB", own='"2GiB"', duration="10s"))
    one.run()
    assert one.host.kills == ["g"]
    assert one.host.seen().available == 0


def test_ballooned_memory_is_the_hosts_again() -> None:
    one = world(scenario(guest_of(need="100MiB", files="800MiB", kernel="50MiB"), ram="4GiB"))
    one.guests[0].order(300 * MIB)
    one.run([check_books])
    assert one.guests[0].resident == pytest.approx(300 * MIB)
    assert one.host.free == pytest.approx((4096 - 300 - 60) * MIB)
