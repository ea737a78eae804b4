"""A replay: the same policy decides the same again; another one is asked from where things really stood."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given

from autoballoon.core.engine import Engine, Rules
from autoballoon.core.model import AnyDecision, SetTarget, Snapshot, Stay
from autoballoon.core.replaying import Replay, differences
from autoballoon.core.units import MIB
from autoballoon.policies import POLICIES, policy_named
from tests.core.histories import History, histories, play
from tests.core.world import Tame, World

Told = list[tuple[Snapshot, tuple[AnyDecision, ...], dict[str, int], float]]


def recorded(world: World, seconds: int) -> Told:
    """What a daemon in this world tells at each tick of so many seconds."""
    told: Told = []
    real = world.tick

    def tick() -> tuple[AnyDecision, ...]:
        snapshot = world.snapshot()
        decisions = real()
        targets = {key: track.target for key, track in world.state.tracks.items()}
        told.append((snapshot, decisions, targets, world.now))
        return decisions

    world.tick = tick  # type: ignore[method-assign]
    world.run(seconds)
    return told


def tide(number: int) -> Callable[[float], int]:
    return lambda now: (60 + 200 * (round(now / 10 + number) % 2)) * MIB


def lively() -> World:
    return World([Tame(f"g{n}", tide(n)) for n in range(4)], 1600 * MIB)


def replayed(
    told: Told, recorded: str, tried: str, known_for_s: float = 0.0
) -> list[tuple[AnyDecision, ...]]:
    replay = Replay(
        Engine(Rules(), policy_named(recorded)), Engine(Rules(), policy_named(tried)), known_for_s
    )
    return [replay.step(*one) for one in told]


def test_the_same_policy_from_the_beginning_decides_the_same() -> None:
    told = recorded(lively(), 60)
    again = replayed(told, "ladder", "ladder")
    assert any(isinstance(d, SetTarget) for decisions in again for d in decisions)
    for (_, done, _, _), decided in zip(told, again, strict=True):
        assert differences(done, decided) == []


def test_from_the_middle_it_soon_decides_the_same_too() -> None:
    told = recorded(lively(), 90)
    late = [one for one in told if one[3] > 30]
    again = replayed(late, "ladder", "ladder", known_for_s=30.0)
    other = [
        sum(not one.is_of_reason_only for one in differences(done, decided))
        for (_, done, _, _), decided in zip(late, again, strict=True)
    ]
    assert sum(other[len(other) // 2 :]) <= len(other) // 20


def test_another_policy_is_asked_from_where_things_stood() -> None:
    told = recorded(lively(), 60)
    again = replayed(told, "ladder", "static")
    assert not any(isinstance(d, SetTarget) and d.reason.value == "need" for step in again for d in step)
    kinds = Counter(
        (type(one.recorded).__name__, type(one.replayed).__name__)
        for (_, done, _, _), decided in zip(told, again, strict=True)
        for one in differences(done, decided)
    )
    assert kinds["SetTarget", "Stay"] > 0
    # It is asked from where the guest really stood, not from where it would have brought it.
    for (_, _, _, _), (_, _, targets, _), decided in zip(told[1:], told, again[1:], strict=False):
        assert all(one.size == targets[one.key] for one in decided if isinstance(one, Stay))


@pytest.mark.parametrize("policy", sorted(POLICIES))
@given(histories())
def test_any_policy_can_be_tried_on_any_history(policy: str, ticks: History) -> None:
    steps = play(ticks)
    replay = Replay(Engine(Rules(), policy_named("ladder")), Engine(Rules(), policy_named(policy)))
    for step in steps:
        targets = {key: track.target for key, track in step.after.tracks.items()}
        decided = replay.step(step.snapshot, step.decisions, targets, step.now)
        assert [one.key for one in decided] == [guest.key for guest in step.snapshot.guests]
        if policy == "ladder":
            assert differences(step.decisions, decided) == []
