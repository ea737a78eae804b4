"""The response time: what passes from a guest's first byte of growth until it has more than before."""

import msgspec
import pytest

from autoballoon.core.engine import Engine
from autoballoon.core.policy import Watch
from autoballoon.core.units import MIB
from autoballoon.policies.ladder import Ladder
from autoballoon.policies.rungs import GUEST_REACT_S
from tests.core.world import STEP_S, Tame, World

RATE = 100 * MIB
"""Bytes a second at which the guest grows, for a little more than half a second each time."""
FIRST, AGAIN = 10.0, 30.0
"""When it grows first, so that it is known to grow so fast; and when it grows again."""


def response_s(begun: float) -> float:
    """Seconds, when a guest that has what it needs and its headroom begins to grow at that time."""

    def need(now: float) -> int:
        since = now - (FIRST if now < begun else begun)
        return 60 * MIB + (round(min(since, 0.6) * RATE) if 0.0 <= since < 3.0 else 0)

    guest = Tame("g", need, floor=64 * MIB)
    world = World([guest, Tame("other", lambda now: 360 * MIB)], 560 * MIB)
    world.run(begun)
    had = guest.actual
    while guest.actual <= had:
        world.run(STEP_S)
        assert world.now < begun + 5.0, "it is given nothing"
    return world.now - begun


def worst_s() -> float:
    """The longest of those that begin at any time between two ticks."""
    return max(response_s(AGAIN + n * STEP_S) for n in range(20))


def test_headrooms_are_made_for_the_response_time_that_there_is() -> None:
    assert worst_s() <= GUEST_REACT_S + STEP_S / 2


def test_without_questions_between_ticks_it_would_be_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("suspects", "curious"):
        monkeypatch.setattr(Engine, name, lambda self, state, now: frozenset())
    assert worst_s() > 2 * GUEST_REACT_S


def left(begun: float) -> int:
    """The least that is available in a guest that takes 200 MiB, faster than others can give it, from that time on."""

    def need(now: float) -> int:
        since = now - (FIRST if now < begun else begun)
        return 60 * MIB + (round(min(since, 1.4) * 1.5 * RATE) if 0.0 <= since < 5.0 else 0)

    guest = Tame("g", need, floor=64 * MIB)
    world = World([guest, Tame("other", lambda now: 300 * MIB)], 760 * MIB)
    world.run(begun)
    least = guest.actual
    while world.now < begun + 2.0:
        world.run(STEP_S)
        least = min(least, guest.actual - guest.used)
    return least


def test_a_guest_that_grows_is_given_more_before_it_has_nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    began = [AGAIN + n * STEP_S for n in range(20)]
    ahead = sorted(left(begun) for begun in began)
    monkeypatch.setattr(Ladder, "watch", Watch(ahead_s=0.0, wary=True))
    late = sorted(left(begun) for begun in began)
    assert ahead[0] > late[0]
    assert ahead[10] > late[10]


def test_one_that_grows_has_its_tick_when_the_next_look_would_find_it_beyond_its_edge() -> None:
    guest = Tame("g", lambda now: 60 * MIB, floor=64 * MIB)
    world = World([guest, Tame("other", lambda now: 360 * MIB)], 560 * MIB)
    world.run(AGAIN)
    state, reading = world.state, world.state.tracks["g"].reading
    assert state.wishes is not None
    assert reading is not None
    edge = reading.available - 40 * MIB
    state = msgspec.structs.replace(state, wishes=msgspec.structs.replace(state.wishes, edges={"g": edge}))

    def is_due(left_mib: int, after_s: float) -> bool:
        """Whether it is when so much beyond its edge is available at so long a time after the last reading."""
        now = reading.taken_at + after_s
        shown = msgspec.structs.replace(guest.shown(now), age_s=0.0, available=edge + left_mib * MIB)
        return world.engine.near_edge(state, shown, now)

    assert is_due(8, 0.5)  # gone in an eighth of a second, at that rate
    assert not is_due(20, 0.5)  # it has another half second
    assert not is_due(8, 60.0)  # it hardly grows
    assert is_due(-1, 60.0)
