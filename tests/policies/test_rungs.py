"""What one guest claims, from readings made by hand."""

import msgspec
import pytest

from autoballoon.core import guard
from autoballoon.core.units import MIB
from autoballoon.policies import policy_named
from autoballoon.policies.habits import Habit
from autoballoon.policies.rungs import rungs_of
from tests.policies.sights import Steps, guest


@pytest.mark.parametrize(("tells", "least", "most"), [(True, 900, 1100), (False, 64, 256)])
def test_what_a_guest_has_just_freed_is_no_cache_unless_it_says_so(
    tells: bool, least: int, most: int
) -> None:
    """Windows reports what is available, and not how much of that is cache."""
    steps = Steps(policy_named("ladder"), capacity=8192 * MIB)
    for now in range(40):
        available = 200 if now < 38 else 1200
        g = guest(
            "g",
            2048,
            most=2048,
            available=available * MIB,
            free=(100 if tells else available) * MIB,
            caches=(available - 100) * MIB if tells else None,
            resident=2048 * MIB,
        )
        steps.step(100.0 + now, 4096 * MIB, [g])
    assert steps.state.wishes is not None
    wish = steps.state.wishes.wishes["g"]
    assert least * MIB <= wish.used - wish.need <= most * MIB


def test_a_guest_that_reads_again_what_it_dropped_is_given_room_though_it_does_not_tell_of_its_cache() -> (
    None
):
    """Linux before 4.19."""
    steps = Steps(policy_named("ladder"), capacity=8192 * MIB)
    for now in range(20):
        g = guest(
            "g",
            1024,
            most=2048,
            available=500 * MIB,
            free=10 * MIB,
            major_faults=1024 * now,
            resident=1024 * MIB,
        )
        steps.step(100.0 + now, 4096 * MIB, [g])
    assert steps.state.wishes is not None
    assert steps.state.wishes.wishes["g"].used >= 1024 * MIB


def test_a_size_that_was_set_by_hand_below_the_floor_claims_no_less_than_the_guard_allows() -> None:
    steps = Steps(policy_named("ladder"), capacity=8192 * MIB)
    for now in range(3):
        g = guest("g", 1024, most=2048, available=900 * MIB, resident=1024 * MIB, floor=512)
        steps.step(100.0 + now, 4096 * MIB, [g])
    track = msgspec.structs.replace(steps.state.tracks["g"], adopted=256 * MIB)
    rungs = rungs_of(g, track, Habit(), 103.0)
    assert (rungs.floor, rungs.top) == guard.bounds(g, track) == (512 * MIB, 512 * MIB)
