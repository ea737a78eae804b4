"""The response time: what passes from a guest's first byte of growth until it has more than before."""

import pytest

from autoballoon.core.engine import Engine
from autoballoon.core.units import MIB
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
