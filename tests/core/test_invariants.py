"""The invariants, over random histories of guests that may report anything within their types."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.engine import Engine, Rules, State
from autoballoon.core.model import Guest, Host, Reason, SetTarget, Snapshot, Stay
from autoballoon.core.pool import account_of
from autoballoon.core.track import SLACK
from autoballoon.core.units import MIB, PAGE
from autoballoon.policies import policy_named

FOLLOWS = {Reason.STUCK, Reason.DEFLATED, Reason.MANUAL}
SIZE = st.integers(1, 1024).map(lambda mib: mib * MIB)


@st.composite
def guest_lives(draw: st.DrawFn, key: str, ticks: int) -> list[Guest]:
    """One guest over `ticks` snapshots: sizes, reports and moods change at random, within the schema."""
    most = draw(SIZE)
    floor = draw(st.integers(0, most))
    ceiling = draw(st.one_of(st.just(0), st.integers(floor, most)))
    actual = most
    lives = []
    for _ in range(ticks):
        if draw(st.integers(0, 3)) == 0:
            actual = draw(st.integers(1, most // PAGE)) * PAGE
        talks = draw(st.integers(0, 5)) > 0
        lives.append(
            Guest(
                key=key,
                name=key,
                max=most,
                actual=actual,
                floor=floor,
                ceiling=ceiling,
                shares=draw(st.sampled_from([1, 500, 1000, 4000])),
                pid=1,
                running=draw(st.integers(0, 9)) > 0,
                managed=draw(st.integers(0, 9)) > 0,
                driver=draw(st.sampled_from([True, True, True, None, False])),
                up_s=draw(st.sampled_from([5.0, 100.0, None])),
                age_s=draw(st.sampled_from([0.0, 0.1, 0.9, 3.0, 60.0])) if talks else None,
                total=most if talks else None,
                available=draw(st.integers(0, most)) if talks else None,
                caches=draw(st.one_of(st.none(), st.integers(0, most))),
                swap_in=draw(st.one_of(st.none(), st.integers(0, 10**10))),
                resident=draw(st.one_of(st.none(), st.integers(0, most))),
                overhead=draw(st.one_of(st.none(), st.integers(0, 80 * MIB))),
                deflates_itself=draw(st.sampled_from([True, False, None])),
            )
        )
    return lives


@st.composite
def histories(draw: st.DrawFn) -> list[Snapshot]:
    ticks = draw(st.integers(1, 5))
    count = draw(st.integers(0, 4))
    lives = [draw(guest_lives(f"g{i}", ticks)) for i in range(count)]
    capacity = draw(st.integers(1, 4096)) * MIB
    return [
        Snapshot(
            host=Host(capacity=capacity, available=draw(st.integers(0, capacity))),
            guests=tuple(life[t] for life in lives),
        )
        for t in range(ticks)
    ]


def obeyed(snapshot: Snapshot, targets: dict[str, int]) -> Snapshot:
    """The snapshot as it would be if the guests had gone to their targets."""
    guests = tuple(
        msgspec.structs.replace(g, actual=targets.get(g.key, g.actual), resident=None)
        for g in snapshot.guests
    )
    return msgspec.structs.replace(snapshot, guests=guests)


def play(history: list[Snapshot], *, obey: bool) -> list[tuple[State, Snapshot, State, tuple[Any, ...]]]:
    """Step the ladder through a history: (state before, snapshot, state after, decisions) for each tick."""
    engine = Engine(Rules(), policy_named("ladder"))
    state = engine.start()
    told: dict[str, int] = {}
    steps = []
    for n, snapshot in enumerate(history):
        seen = obeyed(snapshot, told) if obey else snapshot
        after, decisions = engine.step(state, seen, 10.0 + n)
        told.update({d.key: d.size for d in decisions if isinstance(d, SetTarget)})
        steps.append((state, seen, after, decisions))
        state = after
    return steps


@given(histories(), st.booleans())
def test_i1_targets_lie_within_the_bounds_on_whole_pages(history: list[Snapshot], obey: bool) -> None:
    for _, snapshot, _, decisions in play(history, obey=obey):
        guests = {g.key: g for g in snapshot.guests}
        for decision in decisions:
            if isinstance(decision, SetTarget) and decision.reason not in FOLLOWS:
                guest = guests[decision.key]
                assert decision.size % PAGE == 0
                assert decision.size <= guest.max
                low = min(guest.floor, guest.top)
                assert decision.size >= low or decision.size > decision.before
                assert (
                    decision.size <= max(guest.top, -(-low // PAGE) * PAGE) or decision.size < decision.before
                )


@given(histories(), st.booleans())
def test_i2_no_grant_promises_more_than_the_pool_holds(history: list[Snapshot], obey: bool) -> None:
    for _, snapshot, after, decisions in play(history, obey=obey):
        assert after.account is not None
        assert after.wishes is not None
        grown = sum(
            d.size - max(d.before, g.actual, g.resident or 0)
            for d, g in zip(decisions, snapshot.guests, strict=True)
            if isinstance(d, SetTarget) and d.reason not in FOLLOWS and d.size > max(d.before, g.actual)
        )
        assert grown <= max(0, after.account.room) + max(0, after.wishes.excess)


@given(histories(), st.booleans())
def test_i3_no_shrink_without_a_reading_taken_after_the_last_move(
    history: list[Snapshot], obey: bool
) -> None:
    moved: dict[str, float] = {}
    actual: dict[str, int] = {}
    for n, (_, snapshot, _, decisions) in enumerate(play(history, obey=obey)):
        now = 10.0 + n
        for guest, decision in zip(snapshot.guests, decisions, strict=True):
            if actual.get(guest.key, guest.actual) != guest.actual:
                moved[guest.key] = now
            actual[guest.key] = guest.actual
            if not isinstance(decision, SetTarget):
                continue
            shrink = decision.size < min(decision.before, guest.actual)
            if shrink and decision.reason not in FOLLOWS | {Reason.BOOT}:
                assert guest.available is not None
                assert guest.age_s is not None
                assert now - guest.age_s > moved.get(guest.key, -1e9)
            moved[guest.key] = now


@given(histories(), st.booleans())
def test_i3_one_boot_target_and_only_before_the_driver_is_up(history: list[Snapshot], obey: bool) -> None:
    for before, snapshot, _, decisions in play(history, obey=obey):
        for guest, decision in zip(snapshot.guests, decisions, strict=True):
            if isinstance(decision, SetTarget) and decision.reason is Reason.BOOT:
                assert guest.driver is not True
                track = before.tracks.get(guest.key)
                if track is not None and track.health.value == "booting" and guest.up_s == track.up_s:
                    assert not track.ours


@given(histories(), st.booleans())
def test_i4_every_guest_gets_exactly_one_decision_with_a_reason(history: list[Snapshot], obey: bool) -> None:
    for _, snapshot, _, decisions in play(history, obey=obey):
        assert [d.key for d in decisions] == [g.key for g in snapshot.guests]
        for decision in decisions:
            assert isinstance(decision, SetTarget | Stay)
            assert isinstance(decision.reason, Reason)


@given(histories())
def test_i5_no_second_shrink_while_one_is_under_way(history: list[Snapshot]) -> None:
    for before, snapshot, _, decisions in play(history, obey=False):
        for guest, decision in zip(snapshot.guests, decisions, strict=True):
            track = before.tracks.get(guest.key)
            if track is None or not isinstance(decision, SetTarget) or not track.ours:
                continue
            outstanding = guest.actual > track.target + SLACK
            if outstanding and decision.reason not in FOLLOWS | {Reason.BOOT}:
                assert decision.size >= track.target


@given(histories(), st.data())
def test_i7_no_report_pushes_another_below_its_floor_or_its_need(
    history: list[Snapshot], data: st.DataObject
) -> None:
    """Whatever the others say, a guest with a fair reading is not shrunk below floor, nor below what it needs."""
    for _, snapshot, after, decisions in play(history, obey=True):
        for guest, decision in zip(snapshot.guests, decisions, strict=True):
            if not isinstance(decision, SetTarget) or decision.reason in FOLLOWS | {Reason.BOOT}:
                continue
            if decision.size < decision.before:
                reading = after.tracks[guest.key].reading
                assert reading is not None
                assert decision.size >= min(guest.floor, guest.top)
                assert decision.size >= min(reading.need, guest.top) - PAGE


@given(histories())
def test_i9_same_inputs_same_decisions(history: list[Snapshot]) -> None:
    assert [d for *_, d in play(history, obey=True)] == [d for *_, d in play(history, obey=True)]


@given(histories())
def test_farewell_shrinks_nobody_and_hands_out_only_what_is_there(history: list[Snapshot]) -> None:
    engine = Engine(Rules(), policy_named("ladder"))
    *_, (_, snapshot, state, _) = play(history, obey=True)
    decisions = engine.farewell(state, snapshot, 100.0)
    guests = {g.key: g for g in snapshot.guests}
    room = account_of(snapshot, state.tracks, engine.rules.reserve).room
    moves = [d for d in decisions if isinstance(d, SetTarget)]
    assert sum(d.size - max(d.before, guests[d.key].actual) for d in moves) <= max(0, room)
    for decision in decisions:
        assert isinstance(decision, SetTarget)
        assert decision.size > decision.before
        assert decision.size <= guests[decision.key].max


@given(histories())
def test_a_dry_run_remembers_nothing_as_done(history: list[Snapshot]) -> None:
    engine = Engine(Rules(dry_run=True), policy_named("ladder"))
    state = engine.start()
    for n, snapshot in enumerate(history):
        state, _ = engine.step(state, snapshot, 10.0 + n)
        for guest in snapshot.guests:
            assert state.tracks[guest.key].target == guest.actual
            assert not state.tracks[guest.key].ours
