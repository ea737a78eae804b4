"""In no world, however mad, is an invariant broken or a page lost. A soak tries thousands."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from autoballoon.policies import POLICIES
from autoballoon.sim.random_world import random_world
from autoballoon.sim.run import simulate, world_of
from autoballoon.sim.world import World
from autoballoon.views.sim_results import ORACLE

RANDOMS = st.randoms(use_true_random=False)
COARSE_S = 0.2
"""Worlds of such steps, half of them, are lived again: they take a sixth of the time of all."""


def check_books(one: World) -> None:
    """The world itself is sound: memory is neither lost nor made."""
    for guest in one.there:
        assert 0 <= guest.actual <= guest.max + 1
        assert guest.anon >= -1
        assert -1 <= guest.pages.swapped_hot <= guest.pages.hot + 1
        assert guest.resident <= guest.actual + 1
        assert 0 <= guest.progress <= 1
    swapped = sum(guest.pages.swapped for guest in one.there)
    assert swapped <= one.host.spec.swap + (1 << 20)


@given(RANDOMS)
def test_the_ladder_breaks_no_invariant(rng: Random) -> None:
    scenario = random_world(rng)
    result = simulate("random", "ladder", world_of(scenario, "ladder", 1), [check_books])
    assert result.broken == ()


@given(RANDOMS, st.sampled_from([*POLICIES, ORACLE]))
def test_whoever_moves_memory_the_world_is_sound_and_can_be_lived_again(rng: Random, policy: str) -> None:
    scenario = random_world(rng)
    once = simulate("random", policy, world_of(scenario, policy, 1), [check_books])
    if scenario.step >= COARSE_S:
        assert once == simulate("random", policy, world_of(scenario, policy, 1))
    lives = sum(group.count for group in scenario.guests)
    # The step in which the host kills a guest counts as lost whole, also where it had done its work.
    assert once.lost_s + once.work_s <= lives * (scenario.duration + scenario.step) * 1.01
