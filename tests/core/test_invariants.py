"""The invariants: they hold over random histories, and a step that breaks one is found out."""

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core import guard
from autoballoon.core.engine import Engine, Rules
from autoballoon.core.invariants import FOLLOWS, hold_back, violations
from autoballoon.core.model import Guest, Host, Reason, SetTarget, Snapshot, Stay, Suspend
from autoballoon.core.pool import account_of, charge_of, overhang_of, overhead_of
from autoballoon.core.share import water_fill
from autoballoon.core.track import Health, Track
from autoballoon.core.units import GIB, MIB, PAGE, Portion
from autoballoon.policies import POLICIES, policy_named
from tests.core.histories import History, Step, histories, history, play
from tests.core.world import Tame, World


@pytest.mark.parametrize("policy", sorted(POLICIES))
@given(histories())
def test_no_step_breaks_an_invariant(policy: str, ticks: History) -> None:
    for step in play(ticks, policy):
        assert violations(*step) == ()


@pytest.mark.parametrize("overload", ["guest-swap", "suspend"])
@given(histories())
def test_no_step_breaks_an_invariant_whatever_the_choice_in_an_overload(
    overload: str, ticks: History
) -> None:
    for step in play(ticks, rules=Rules(overload=overload)):
        assert violations(*step) == ()


def test_the_histories_reach_every_kind_of_move() -> None:
    """The properties above would say little of a move that no history leads to."""
    always = {
        Reason.BOOT,
        Reason.NEED,
        Reason.GIVE_BACK,
        Reason.TAKE_SURPLUS,
        Reason.TAKE_COLD_CACHE,
    } | FOLLOWS
    for overload, wanted in (
        ("host-swap", always),
        ("guest-swap", {Reason.TAKE_NEED}),
        ("suspend", {Reason.OVERLOAD, Reason.SQUEEZE}),
    ):
        missing = set(wanted)
        for seed in range(100):
            for step in play(history(seed, 30, 4), rules=Rules(overload=overload)):
                missing -= {d.reason for d in step.decisions if not isinstance(d, Stay)}
            if not missing:
                break
        assert missing == set(), overload


@given(histories())
def test_i4_every_guest_gets_exactly_one_decision_with_a_reason(ticks: History) -> None:
    for step in play(ticks):
        assert [d.key for d in step.decisions] == [g.key for g in step.snapshot.guests]
        for decision in step.decisions:
            assert isinstance(decision, SetTarget | Stay)
            assert isinstance(decision.reason, Reason)


SETTLED = World([Tame("g", lambda now: 60 * MIB), Tame("other", lambda now: 60 * MIB)], 800 * MIB)
SETTLED.run(20)


class Liar(Tame):
    """Says that it has become smaller, and keeps its memory."""

    def shown(self, now: float) -> Guest:
        return msgspec.structs.replace(super().shown(now), resident=512 * MIB)


@given(st.integers(2 * MIB // PAGE, 200 * MIB // PAGE), st.integers(0, 20))
def test_i6_what_somebody_else_sets_is_adopted_for_good(less: int, wait: int) -> None:
    world = copy.deepcopy(SETTLED)
    world.run(wait / 20)
    guest = world.guests[0]
    by_hand = guest.actual - less * PAGE
    guest.target = guest.actual = guest.touched = by_hand
    world.run(5)
    assert world.state.tracks["g"].adopted == by_hand
    world.run(25)
    assert guest.target <= max(by_hand, guest.floor)


@given(st.integers(20 * MIB // PAGE, 200 * MIB // PAGE))
def test_i6_nothing_is_adopted_from_a_guest_that_keeps_its_memory(less: int) -> None:
    world = copy.deepcopy(SETTLED)
    guest = world.guests[0]
    guest.__class__ = Liar
    guest.target = guest.actual = guest.actual - less * PAGE
    world.run(10)
    assert world.state.tracks["g"].adopted is None
    assert Reason.MANUAL not in [d.reason for _, d in world.decisions]
    charge = charge_of(world.snapshot().guests[0], world.state.tracks["g"])
    assert charge >= 512 * MIB  # it is charged what the host sees


def test_a_guest_that_says_it_is_smaller_and_keeps_its_memory_is_not_left_alone_for_ever() -> None:
    world = copy.deepcopy(SETTLED)
    guest = world.guests[0]
    guest.__class__ = Liar
    guest.target = guest.actual = guest.actual - 100 * MIB
    world.run(guard.BELOW_S + 5)
    assert not guard.is_unexplained(world.state.tracks["g"], world.now)
    world.decisions.clear()
    guest.need = lambda now: 350 * MIB
    world.run(10)
    assert guest.actual > 350 * MIB, "it is given what it needs"


@given(histories())
def test_i6_nothing_is_manual_at_first_contact(ticks: History) -> None:
    first = play(ticks[:1])[0]
    assert Reason.MANUAL not in [d.reason for d in first.decisions]


def least_shares(step: Step, guests: list[Guest], tracks: dict[str, Track]) -> list[int]:
    """What each would get of the pool if all others claimed as much as they could ever have: worse no report can be.

    Before that comes what no report decides: what a balloon took and the host did not get back, what a guest keeps
    though it was asked for it (I5), after its boot (I3) or because the operator holds it, and the floors.
    """
    assert step.after.account is not None
    seen = {guest.key for guest in guests}
    left = step.after.account.pool - sum(overhead_of(guest) for guest in guests)
    left -= sum(charge_of(g, tracks[g.key]) for g in step.snapshot.guests if g.key not in seen)
    left -= sum(overhang_of(g, tracks[g.key], step.now) for g in guests)
    tops = [guard.bounds(guest, tracks[guest.key])[1] for guest in guests]
    keeps = [step.now < max(tracks[g.key].cool_until, tracks[g.key].grace_until) for g in guests]
    sizes = [0] * len(guests)
    for claims in (
        [
            min(max(guest.actual if keep else 0, tracks[guest.key].target if guest.held else 0), top)
            for guest, top, keep in zip(guests, tops, keeps, strict=True)
        ],
        [min(guest.floor, top) for guest, top in zip(guests, tops, strict=True)],
        tops,
    ):
        missing = [claim - size for claim, size in zip(claims, sizes, strict=True)]
        given = water_fill(left, missing, [guest.shares for guest in guests])
        sizes = [size + more for size, more in zip(sizes, given, strict=True)]
        left -= sum(given)
    return sizes


@given(histories())
def test_i7_no_report_takes_a_guests_fair_share_of_need(ticks: History) -> None:
    keep_fair_shares(ticks)


def keep_fair_shares(ticks: History) -> None:
    """I7, in each step of this history."""
    for step in play(ticks):
        tracks, _ = step.engine.observed(step.before, step.snapshot, step.now)
        assert step.after.wishes is not None
        seen = [g for g in step.snapshot.guests if tracks[g.key].health is Health.OK]
        for guest, fair in zip(seen, least_shares(step, seen, tracks), strict=True):
            track, wishes = tracks[guest.key], step.after.wishes.wishes
            assert track.reading is not None
            wish = guard.within(guest, track, wishes[guest.key].size)
            assert wish >= min(guest.floor, guest.top)
            # A wish is on a page, and so is each ceiling that it was shared out by.
            assert wish >= min(track.reading.need, guard.bounds(guest, track)[1], fair) - PAGE * len(seen)


@given(histories())
def test_nobody_is_shrunk_or_stopped_while_it_is_being_migrated(ticks: History) -> None:
    for step in play(ticks, rules=Rules(overload="suspend")):
        for guest, decision in zip(step.snapshot.guests, step.decisions, strict=True):
            if guest.migrating and step.after.tracks[guest.key].health is Health.OK:
                assert not isinstance(decision, Suspend)
                if isinstance(decision, SetTarget):
                    assert decision.size >= min(decision.before, guest.actual)


@given(histories())
def test_i8_a_crash_at_any_time_leaves_no_guest_below_its_need_as_last_read(ticks: History) -> None:
    needs: dict[str, int] = {}
    for step in play(ticks):
        for guest, decision in zip(step.snapshot.guests, step.decisions, strict=True):
            reading = step.after.tracks[guest.key].reading
            if reading is not None:
                needs[guest.key] = min(reading.need, guard.bounds(guest, step.after.tracks[guest.key])[1])
            if isinstance(decision, SetTarget) and decision.size < min(decision.before, guest.actual):
                assert decision.reason is Reason.BOOT or decision.size >= needs[guest.key] - PAGE


@pytest.mark.parametrize("policy", sorted(POLICIES))
@given(histories())
def test_i9_same_inputs_same_decisions(policy: str, ticks: History) -> None:
    first, second = (play(ticks, policy) for _ in range(2))
    assert [step.decisions for step in first] == [step.decisions for step in second]


@given(histories())
def test_farewell_shrinks_nobody_and_hands_out_only_what_is_there(ticks: History) -> None:
    engine = Engine(Rules(), policy_named("ladder"))
    last = play(ticks)[-1]
    now = last.now + 0.5
    decisions = engine.farewell(last.after, last.snapshot, now)
    guests = {g.key: g for g in last.snapshot.guests}
    tracks, _ = engine.observed(last.after, last.snapshot, now)
    room = account_of(last.snapshot, tracks, engine.rules.reserve).room
    moves = [d for d in decisions if isinstance(d, SetTarget)]
    assert sum(d.size - max(d.before, guests[d.key].actual) for d in moves) <= max(0, room)
    for decision in decisions:
        assert isinstance(decision, SetTarget)
        assert decision.size > decision.before or tracks[decision.key].lags
        assert decision.before <= decision.size <= guests[decision.key].max


@given(histories())
def test_a_dry_run_remembers_nothing_as_done_and_breaks_nothing(ticks: History) -> None:
    for step in play(ticks, rules=Rules(dry_run=True)):
        assert violations(*step) == ()
        for guest in step.snapshot.guests:
            assert step.after.tracks[guest.key].target == guest.actual
            assert not step.after.tracks[guest.key].ours


# A step that breaks an invariant is found out. The step is a sound one, spoilt in one place.

WEB = Guest(
    key="web", name="web", max=GIB, actual=GIB, floor=GIB // 4, pid=1, driver=True, up_s=500.0, age_s=0.0,
    available=500 * MIB, caches=100 * MIB, resident=GIB, overhead=30 * MIB,
)  # fmt: skip


def sound(
    guest: Guest = WEB, capacity: int = GIB, *, ours: bool = False, overload: str = "host-swap"
) -> Step:
    """One step at 1000 s that shrinks a guest; `ours`: which we had moved before, long ago."""
    engine = Engine(Rules(reserve=Portion(amount=0), overload=overload), policy_named("ladder"))
    before, snapshot = engine.start(), Snapshot(Host(capacity, 0), (guest,))
    if ours:
        before, _ = engine.step(before, snapshot, 900.0)
        track = msgspec.structs.replace(before.tracks["web"], ours=True, set_at=850.0, target=guest.actual)
        before = msgspec.structs.replace(before, tracks={"web": track})
        snapshot = Snapshot(Host(capacity, 0), (msgspec.structs.replace(guest, up_s=600.0),))
    after, decisions = engine.step(before, snapshot, 1000.0)
    step = Step(engine, before, snapshot, after, decisions, 1000.0)
    assert violations(*step) == ()
    return step


def decided(step: Step, reason: Reason, size: int, **track: Any) -> Step:
    """The step with another decision in it, remembered as done; `track` is what else is remembered."""
    old = step.decisions[0]
    assert isinstance(old, SetTarget | Stay)
    before = old.before if isinstance(old, SetTarget) else old.size
    decision = SetTarget("web", "web", reason, {}, before=before, size=size)
    remembered = msgspec.structs.replace(step.after.tracks["web"], target=size, **track)
    after = msgspec.structs.replace(step.after, tracks={"web": remembered})
    return step._replace(after=after, decisions=(decision,))


def known(step: Step, **track: Any) -> Step:
    """The step with another track before it."""
    was = msgspec.structs.replace(step.before.tracks["web"], **track)
    return step._replace(before=msgspec.structs.replace(step.before, tracks={"web": was}))


def broken(step: Step) -> set[str]:
    found = violations(*step)
    assert all(violation.says and "\n" not in violation.says for violation in found)
    return {violation.invariant for violation in found}


TAKE = Reason.TAKE_SURPLUS


def test_i1_is_seen_broken() -> None:
    assert broken(decided(sound(), TAKE, 700 * MIB)) == set()
    assert broken(decided(sound(), TAKE, 700 * MIB + 1)) == {"I1"}
    assert "I1" in broken(decided(sound(), TAKE, 200 * MIB))
    assert "I1" in broken(decided(sound(capacity=8 * GIB), Reason.NEED, 2 * GIB))


def test_i2_is_seen_broken() -> None:
    half = msgspec.structs.replace(WEB, actual=GIB // 2, resident=GIB // 2, available=200 * MIB)
    assert broken(decided(sound(half, 4 * GIB), Reason.NEED, GIB)) == {
        "I2"
    }  # of what is available nothing is free
    free = sound(half, 4 * GIB)
    assert free.after.account is not None
    roomy = msgspec.structs.replace(free.after.account, pool=4 * GIB)
    free = free._replace(after=msgspec.structs.replace(free.after, account=roomy))
    assert broken(decided(free, Reason.NEED, GIB)) == set()
    excess = msgspec.structs.replace(free.after.wishes, excess=4 * GIB)  # type: ignore[type-var]
    full = msgspec.structs.replace(roomy, pool=0)
    over = free._replace(after=msgspec.structs.replace(free.after, account=full, wishes=excess))
    assert broken(decided(over, Reason.NEED, GIB)) == {"I2"}  # beyond its need


def test_a_hold_is_seen_broken() -> None:
    step = sound(msgspec.structs.replace(WEB, held=True), ours=True)
    assert broken(decided(step, TAKE, 700 * MIB)) == {"hold"}


def test_i3_is_seen_broken() -> None:
    step = decided(sound(ours=True), TAKE, 700 * MIB)
    assert broken(step) == set()
    assert broken(known(step, set_at=1000.0)) == {"I3"}
    assert broken(known(step, changed_at=1000.0)) == {"I3"}
    assert broken(known(step, actual=GIB // 2)) == {"I3"}
    assert broken(decided(sound(ours=True), TAKE, 700 * MIB, reading=None)) == {"I3"}
    assert broken(decided(sound(), Reason.BOOT, 700 * MIB)) == {"I3"}
    young = msgspec.structs.replace(WEB, driver=False, available=None, age_s=None, up_s=5.0)
    boot = sound(young)
    assert boot.decisions[0].reason is Reason.BOOT
    again = boot._replace(before=boot.after)
    assert "I3" in broken(again)


def test_i4_is_seen_broken() -> None:
    step = sound(ours=True)
    assert broken(step._replace(decisions=())) == {"I4"}
    assert broken(step._replace(decisions=(Stay("web", "web", Reason.SETTLED, {}, size=GIB),))) == {"I4"}
    assert broken(known(step, target=GIB // 2)) == {"I4"}
    other = msgspec.structs.replace(step.decisions[0], key="db")
    assert broken(step._replace(decisions=(other,))) == {"I4"}


def test_i5_is_seen_broken() -> None:
    step = sound(ours=True)
    outstanding = decided(known(step, target=900 * MIB), TAKE, 700 * MIB)
    decision = msgspec.structs.replace(outstanding.decisions[0], before=900 * MIB)
    assert broken(outstanding._replace(decisions=(decision,))) == {"I5"}
    assert broken(decided(step, Reason.STUCK, GIB)) == set()
    assert broken(decided(step, Reason.STUCK, 700 * MIB)) == {"I5"}


def test_i6_is_seen_broken() -> None:
    step = sound(ours=True)
    assert broken(decided(step, Reason.MANUAL, GIB, adopted=GIB)) == set()
    assert broken(decided(step, Reason.MANUAL, GIB)) == {"I6"}
    assert broken(decided(sound(), Reason.MANUAL, GIB, adopted=GIB)) == {"I6"}
    assert broken(known(decided(step, TAKE, 700 * MIB), adopted=800 * MIB)) == {"I6"}
    smaller = msgspec.structs.replace(WEB, actual=GIB // 2, available=100 * MIB)
    lying = sound(smaller, 2 * GIB, ours=True)
    assert broken(decided(lying, Reason.MANUAL, GIB // 2, adopted=GIB // 2)) == {"I6"}
    assert broken(decided(step, Reason.DEFLATED, GIB, cool_until=1001.0)) == set()
    assert broken(decided(step, Reason.DEFLATED, GIB)) == {"I6"}
    assert broken(decided(step, Reason.DEFLATED, 700 * MIB, cool_until=1001.0)) == {"I6"}


def test_i8_is_seen_broken() -> None:
    assert broken(decided(sound(), TAKE, 500 * MIB)) == {"I8"}
    assert broken(decided(sound(), Reason.TAKE_NEED, 500 * MIB)) == {"I8"}
    assert broken(decided(sound(overload="guest-swap"), Reason.TAKE_NEED, 500 * MIB)) == set()


def test_a_move_that_breaks_an_invariant_is_held_back_and_the_others_go() -> None:
    db = msgspec.structs.replace(WEB, key="db", name="db")
    engine = Engine(Rules(), policy_named("ladder"))
    before, snapshot = engine.start(), Snapshot(Host(2 * GIB, 0), (WEB, db))
    after, decisions = engine.step(before, snapshot, 1000.0)
    assert all(isinstance(decision, SetTarget) for decision in decisions)
    spoilt = (msgspec.structs.replace(decisions[0], size=5 * MIB), decisions[1])
    step = Step(engine, before, snapshot, after, spoilt, 1000.0)
    found = violations(*step)
    assert {key for violation in found for key in violation.keys} == {"web"}
    state, kept = hold_back(found, *step[1:])
    assert kept == (Stay("web", "web", Reason.HELD_BACK, {}, size=GIB), decisions[1])
    assert not state.tracks["web"].ours
    assert state.tracks["db"].ours
    assert violations(engine, before, snapshot, state, kept, 1000.0) == ()
    assert hold_back((), *step[1:]) == (after, spoilt)
