"""Room for guests to come: it is made, it is kept, what runs goes before it, and it ends."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.engine import Engine, Rules
from autoballoon.core.invariants import violations
from autoballoon.core.model import Guest, Host, Reason, SetTarget, Snapshot
from autoballoon.core.promise import Promise, made, promised, shortfall, used
from autoballoon.core.units import GIB, MIB
from autoballoon.policies import policy_named
from tests.core.histories import History, histories, play
from tests.core.world import Tame, World


def promise(number: int, name: str | None = None, size: int = GIB) -> Promise:
    return Promise(number, size, name, until=100.0, keep_s=30.0)


def guest(name: str) -> Guest:
    return Guest(name, name, GIB, GIB)


@given(histories(), st.integers(0, 2 * GIB))
def test_no_promise_breaks_an_invariant(ticks: History, size: int) -> None:
    owing = [tick._replace(host=msgspec.structs.replace(tick.host, promised=size)) for tick in ticks]
    for step in play(owing):
        assert violations(*step) == ()


def test_room_is_made_at_once_and_kept_while_guests_would_like_it() -> None:
    world = World([Tame(f"g{n}", lambda now: 100 * MIB) for n in range(4)], 2300 * MIB)
    world.run(20)
    assert world.state.account is not None
    assert world.state.account.room < 300 * MIB
    world.promised = 600 * MIB
    world.run(4)
    asked = promise(1, size=600 * MIB)
    assert made([asked], world.state.account) == {1: 600 * MIB}
    for _ in range(60):
        world.run(1)
        assert made([asked], world.state.account) == {1: 600 * MIB}
    assert world.broken == set()
    assert all(one.starved == 0 for one in world.guests)
    world.promised = 0
    world.run(60)
    assert world.state.account.room < 300 * MIB  # given back to those who are there


def test_what_runs_and_needs_memory_goes_before_a_promise() -> None:
    hungry = Tame("hungry", lambda now: (100 if now < 30 else 480) * MIB)
    world = World([hungry, Tame("other", lambda now: 100 * MIB)], 800 * MIB)
    world.promised = 400 * MIB
    world.run(25)
    assert world.state.account is not None
    assert made([promise(1, size=400 * MIB)], world.state.account)[1] >= 300 * MIB
    world.run(25)
    assert hungry.actual >= 480 * MIB
    assert world.broken == set()
    assert made([promise(1, size=400 * MIB)], world.state.account)[1] < 300 * MIB


def test_more_than_there_is_says_why() -> None:
    world = World([Tame(f"g{n}", lambda now: 300 * MIB) for n in range(2)], 1200 * MIB)
    world.promised = GIB
    world.run(20)
    state = world.state
    assert state.account is not None
    assert state.wishes is not None
    there = made([promise(1)], state.account)[1]
    assert 200 * MIB < there < 500 * MIB
    says = shortfall(world.snapshot(), state.tracks, state.wishes.wishes, state.account, GIB - there)
    assert says.startswith("what guests need, with headroom and floors, fills the pool")
    for one in world.guests:
        one.obeys = False
        one.need = lambda now: 50 * MIB
    world.run(2)
    assert state.account is not None
    state = world.state
    assert state.account is not None
    assert state.wishes is not None
    says = shortfall(world.snapshot(), state.tracks, state.wishes.wishes, state.account, GIB - there)
    assert "have not given back in time what they do not need: g" in says


def test_who_is_held_is_named() -> None:
    world = World([Tame("held", lambda now: 100 * MIB, held=True)], 900 * MIB)
    world.promised = GIB
    world.run(10)
    state = world.state
    assert state.account is not None
    assert state.wishes is not None
    says = shortfall(world.snapshot(), state.tracks, state.wishes.wishes, state.account, GIB)
    assert says.endswith("as does what those keep that are held or cannot be moved: held")


def test_a_promise_is_used_by_the_guest_that_it_is_for() -> None:
    asked = [promise(1), promise(2, "web"), promise(3, "db"), promise(4)]
    assert used(asked, {"old"}, [guest("old")]) == frozenset()
    assert used(asked, {"old"}, [guest("old"), guest("web")]) == {2}
    assert used(asked, (), [guest("x")]) == {1}
    assert used(asked, (), [guest("x"), guest("y"), guest("z")]) == {1, 4}
    assert used(asked, (), [msgspec.structs.replace(guest("k"), name="db@k")]) == {3}
    assert used([promise(3, "db")], (), [guest("web")]) == frozenset()


def test_two_promises_are_filled_in_turn() -> None:
    world = World([], 2 * GIB)
    world.run(2)
    assert world.state.account is not None
    there = made([promise(1), promise(2)], world.state.account)
    assert there[1] == GIB
    assert 800 * MIB < there[2] < GIB
    seen = promised(Snapshot(Host(2 * GIB, 2 * GIB)), [promise(1), promise(2)])
    assert seen.host.promised == 2 * GIB
    assert promised(seen, [promise(1), promise(2)]) is seen
    assert promised(seen, []).host.promised == 0


def test_a_promise_does_not_make_an_overload() -> None:
    world = World([Tame("g", lambda now: 300 * MIB)], 600 * MIB)
    world.promised = 10 * GIB
    world.run(20)
    assert world.state.wishes is not None
    assert world.state.wishes.over == 0
    assert world.guests[0].starved == 0
    assert Reason.TAKE_NEED not in [d.reason for _, d in world.decisions]
    assert any(isinstance(d, SetTarget) for _, d in world.decisions)


def test_what_boots_is_led_below_what_is_promised_to_others() -> None:
    engine = Engine(Rules(), policy_named("ladder"))
    host = Host(1000 * MIB, 960 * MIB, promised=600 * MIB)
    young = Guest("g", "g", GIB, GIB, pid=7, driver=False, up_s=0.5, resident=40 * MIB)
    state, (decision,) = engine.step(engine.start(), Snapshot(host, (young,)), 100.0)
    assert isinstance(decision, SetTarget) and decision.reason is Reason.BOOT
    assert state.account is not None and decision.size <= state.account.pool - 600 * MIB
