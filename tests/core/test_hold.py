"""A guest that the operator holds: it grows as ever, and is never made smaller."""

from random import Random

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autoballoon.core.engine import Rules
from autoballoon.core.invariants import FOLLOWS, violations
from autoballoon.core.model import Reason, Resume, SetTarget, Stay, Suspend
from autoballoon.core.units import MIB, page_floor
from autoballoon.policies import POLICIES
from tests.core.histories import History, histories, history, play
from tests.core.test_invariants import keep_fair_shares
from tests.core.world import Tame, World


def holding(ticks: History, seed: int) -> History:
    """The history with some of its guests held from some tick on, and let go at some later one."""
    dice = Random(seed)
    spans = {}
    for _, guest in ticks[0].guests:
        begin = dice.randint(0, len(ticks)) if dice.random() < 0.7 else len(ticks)
        spans[guest.key] = range(begin, dice.choice((len(ticks), dice.randint(0, len(ticks)))))
    return [
        tick._replace(
            guests=tuple(
                (mood, msgspec.structs.replace(guest, held=number in spans[guest.key]))
                for mood, guest in tick.guests
            )
        )
        for number, tick in enumerate(ticks)
    ]


@pytest.mark.parametrize("policy", sorted(POLICIES))
@given(histories(), st.integers(0, 2**32))
def test_what_is_held_is_never_made_smaller(policy: str, ticks: History, seed: int) -> None:
    for step in play(holding(ticks, seed), policy):
        assert violations(*step) == ()
        for guest, decision in zip(step.snapshot.guests, step.decisions, strict=True):
            if guest.held and isinstance(decision, SetTarget) and decision.size < decision.before:
                # Then it was made smaller by somebody else, and its target follows.
                assert decision.reason in FOLLOWS
                assert decision.size == guest.actual


@pytest.mark.parametrize("overload", ["guest-swap", "suspend"])
@given(histories(), st.integers(0, 2**32))
def test_nor_is_it_in_an_overload_and_it_is_not_stopped(overload: str, ticks: History, seed: int) -> None:
    for step in play(holding(ticks, seed), rules=Rules(overload=overload)):
        assert violations(*step) == ()
        for guest, decision in zip(step.snapshot.guests, step.decisions, strict=True):
            if guest.held:
                assert not isinstance(decision, Suspend)
                assert not isinstance(decision, SetTarget) or (
                    decision.size >= decision.before or decision.reason in FOLLOWS
                )


@example(history(7252, ticks=1, count=5), 3626)  # its host holds more of one than that is to be
@given(histories(), st.integers(0, 2**32))
def test_nobody_is_pushed_below_its_fair_share_beside_what_is_held(ticks: History, seed: int) -> None:
    keep_fair_shares(holding(ticks, seed))


def steady(need: int) -> Tame:
    return Tame("held", lambda now: need * MIB, held=True)


def test_the_others_give_and_it_keeps_what_it_has() -> None:
    other = Tame("other", lambda now: 60 * MIB)
    world = World([steady(60), other], 900 * MIB, other=lambda now: 0 if now < 30 else 200 * MIB)
    world.run(60)
    held = world.guests[0]
    assert held.actual == held.target == 512 * MIB
    assert other.actual < 250 * MIB
    assert world.broken == set()
    assert {d.reason for at, d in world.decisions if d.key == "held" and at > 10} == {Reason.HELD}


def test_one_that_lacks_memory_is_raised_to_need_and_headroom() -> None:
    held = steady(200)
    held.held, held.target, held.actual = False, 210 * MIB, 210 * MIB
    world = World([held, Tame("other", lambda now: 60 * MIB)], 900 * MIB)
    world.run(8)
    held.held = True
    world.run(10)
    assert held.actual >= 200 * MIB + 24 * MIB
    size = held.target
    held.need = lambda now: 40 * MIB
    world.other = lambda now: 250 * MIB
    world.run(60)
    assert held.target >= size
    held.held = False
    world.run(600)  # what it needed lately is forgotten slowly
    assert held.target < size


def test_a_shrink_under_way_goes_no_further() -> None:
    slow = Tame("slow", lambda now: 60 * MIB, rate=20 * MIB)
    world = World([slow, Tame("other", lambda now: 60 * MIB)], 800 * MIB)
    while not any(isinstance(d, SetTarget) and d.key == "slow" for _, d in world.decisions):
        world.run(0.5)
    world.run(1)
    assert slow.target < slow.actual - MIB
    slow.held = True
    world.run(3)
    assert slow.target >= page_floor(slow.actual)
    assert Reason.HELD in [d.reason for _, d in world.decisions if isinstance(d, SetTarget)]
    size = slow.target
    world.run(30)
    assert slow.target >= size
    assert world.broken == set()


def test_it_gets_no_boot_target() -> None:
    young = Tame("young", lambda now: 60 * MIB, boot_s=5.0, held=True)
    world = World([young, Tame("other", lambda now: 300 * MIB)], 700 * MIB)
    world.run(4)
    assert young.moves == []


def test_one_that_we_had_stopped_runs_again_when_it_is_held() -> None:
    guests = [Tame(f"g{n}", lambda now: 350 * MIB, may_suspend=True, cache_want=0) for n in range(3)]
    world = World(guests, 900 * MIB, rules=Rules(overload="suspend"), swap=200 * MIB)
    while all(guest.running for guest in guests) and world.now < 60:
        world.run(1)
    stopped, *_ = [guest for guest in guests if not guest.running]
    stopped.held = True
    world.run(2)
    assert stopped.running
    assert Reason.RELEASE in [d.reason for _, d in world.decisions if isinstance(d, Resume)]
    world.run(60)
    assert stopped.running
    assert any(isinstance(d, Stay) for _, d in world.decisions)
