"""The host's swap speed as measured, and how long a turn has to be."""

import msgspec
import pytest

from autoballoon.core.model import Host
from autoballoon.core.swap import BUSY, DEFAULT_SPEED, PAYS, TURN_S, SwapSpeed, Way, changed, measured, turn_s
from autoballoon.core.units import GIB, MIB


def host(swap_in: int | None, swap_out: int | None) -> Host:
    return Host(capacity=GIB, available=GIB, swap_in=swap_in, swap_out=swap_out)


def after(*rates_mib: int, speed: SwapSpeed | None = None) -> SwapSpeed:
    """The speed after one second each of swapping in so much, and nothing out."""
    speed, total = speed or SwapSpeed(), 0
    speed = measured(speed, host(0, 0), 0.0)
    for second, rate in enumerate(rates_mib, 1):
        total += rate * MIB
        speed = measured(speed, host(total, 0), float(second))
    return speed


def test_nothing_swapped_leaves_the_default() -> None:
    assert after(0, 0, 0).into.speed == DEFAULT_SPEED


def test_a_rate_that_is_faster_counts_whenever_it_is_seen_and_each_way_for_itself() -> None:
    speed = after(*[400] * 10)
    assert speed.into.speed == pytest.approx(400 * MIB, rel=0.01)
    assert speed.out.speed == DEFAULT_SPEED


def test_a_slower_one_is_taken_for_want_of_demand() -> None:
    assert after(*[7] * 600).into.speed == DEFAULT_SPEED


def test_while_guests_change_places_the_best_counts_and_what_comes_after_it_does_not() -> None:
    speed = changed(SwapSpeed(), 0.0)
    assert after(20, 60, 5, 5, 5, 5, 5, 5, 5, speed=speed).into.speed == DEFAULT_SPEED
    assert after(20, 60, 5, 5, 5, 5, 5, 5, 5, 5, speed=speed).into.speed == 80 * MIB
    assert after(20, 60, *[5] * 100, speed=speed).into.speed == 80 * MIB


def test_a_change_that_moves_nothing_says_nothing() -> None:
    speed = changed(SwapSpeed(), 0.0)
    assert after(*[3] * 30, speed=speed).into.speed == DEFAULT_SPEED
    assert BUSY == 4 * MIB


def test_a_new_change_is_measured_anew() -> None:
    slow = after(*[50] * 12, speed=changed(SwapSpeed(), 0.0))
    assert slow.into.speed == 75 * MIB
    again = changed(msgspec.structs.replace(slow, at=-1e9), 0.0)
    assert after(*[25] * 12, speed=again).into.speed == 50 * MIB


def test_counters_that_are_unknown_or_began_anew_say_nothing() -> None:
    speed = measured(measured(SwapSpeed(), host(5 * GIB, None), 0.0), host(0, 3 * GIB), 1.0)
    assert (speed.into.speed, speed.out.speed) == (DEFAULT_SPEED, DEFAULT_SPEED)


def test_looks_close_together_are_one_look() -> None:
    speed = measured(SwapSpeed(), host(0, 0), 0.0)
    assert measured(speed, host(50 * MIB, 0), 0.1) is speed
    assert measured(speed, host(200 * MIB, 0), 1.0).into.speed == 150 * MIB


def test_a_turn_pays_ten_times_for_what_goes_out_and_comes_in() -> None:
    speed = SwapSpeed(into=Way(50 * MIB), out=Way(200 * MIB))
    moved = 400 * MIB
    assert turn_s(speed, moved) == PAYS * (8 + 2) == 100
    assert turn_s(speed, 0) == TURN_S
    assert turn_s(speed, 100 * MIB) == TURN_S
