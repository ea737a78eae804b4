"""In no world, however mad, is an invariant broken or a page lost. A soak tries thousands."""

from random import Random
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from autoballoon.policies import POLICIES
from autoballoon.sim.characters import Character
from autoballoon.sim.course import Shape
from autoballoon.sim.happenings import Happening
from autoballoon.sim.random_world import random_world
from autoballoon.sim.run import simulate, world_of
from autoballoon.sim.world import World
from autoballoon.views.sim_results import ORACLE

RANDOMS = st.randoms(use_true_random=False)
COARSE_S = 0.2
"""Worlds of such steps, half of them, are lived again: they take a sixth of the time of all."""

MANY = settings(max_examples=settings().max_examples if settings().derandomize else 10_000)
"""A soak tries ten thousand worlds, however short it is."""


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


@MANY
@given(RANDOMS)
def test_the_ladder_breaks_no_invariant(rng: Random) -> None:
    scenario = random_world(rng)
    result = simulate("random", "ladder", world_of(scenario, "ladder", 1), [check_books])
    assert result.broken == ()


def test_all_that_a_scenario_may_have_is_drawn() -> None:
    worlds = [random_world(Random(seed)) for seed in range(300)]
    groups = [group for world in worlds for group in world.guests]
    assert {type(group) for group in groups} == set(get_args(Character))
    assert {type(group.need) for group in groups} == set(get_args(Shape))
    assert {type(one) for world in worlds for one in world.happens} == set(get_args(Happening))
    assert any(group.migrates is not None for group in groups)
    assert len({group.headroom for group in groups}) > 1


@given(RANDOMS, st.sampled_from([*POLICIES, ORACLE]))
def test_whoever_moves_memory_the_world_is_sound_and_can_be_lived_again(rng: Random, policy: str) -> None:
    scenario = random_world(rng)
    once = simulate("random", policy, world_of(scenario, policy, 1), [check_books])
    if scenario.step >= COARSE_S:
        assert once == simulate("random", policy, world_of(scenario, policy, 1))
    lives = sum(group.count for group in scenario.guests)
    # The step in which the host kills a guest counts as lost whole, also where it had done its work.
    assert once.lost_s + once.work_s <= lives * (scenario.duration + scenario.step) * 1.01
