"""What always holds of load control and of guests that use their own swap: over random histories, and over hours."""

from math import ceil
from random import Random

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from autoballoon.core import overload
from autoballoon.core.engine import Engine, Rules, State
from autoballoon.core.model import AnyDecision, Guest, Host, Reason, Resume, SetTarget, Snapshot, Suspend
from autoballoon.core.pause import is_due
from autoballoon.core.swap import TURN_S
from autoballoon.core.track import LAND_S, Pause
from autoballoon.core.units import MIB, PAGE
from autoballoon.policies import policy_named
from autoballoon.policies.guest_swap import spare_swap

CHOICES = ("host-swap", "guest-swap", "suspend")
FOLLOWS = {Reason.STUCK, Reason.DEFLATED, Reason.MANUAL, Reason.BOOT}


class Step(msgspec.Struct, frozen=True):
    """One step of an engine through a history."""

    choice: str
    snapshot: Snapshot
    after: State
    decisions: tuple[AnyDecision, ...]
    now: float


def upto(dice: Random, most: int) -> int:
    """Anything from 0 to `most`, and often one of the two."""
    return dice.choice((0, most, *(dice.randint(0, most) for _ in range(6))))


def one_in(dice: Random, count: int) -> bool:
    return dice.randrange(count) == 0


def life(seed: str, key: str, ticks: int) -> list[Guest]:
    """One guest over `ticks` snapshots. `running` False means here that somebody else stops or resumes it."""
    dice = Random(f"{seed} {key}")
    most = dice.randint(64, 512) * MIB
    floor = upto(dice, most // 2)
    seen = []
    for _ in range(ticks):
        available = upto(dice, most)
        seen.append(
            Guest(
                key=key,
                name=key,
                max=most,
                actual=most,
                floor=floor,
                shares=dice.choice((1, 500, 1000, 4000)),
                pid=dice.choice((7, 7, 7, 7, 7, 7, 7, 8, None)),
                running=not one_in(dice, 15),
                managed=not one_in(dice, 20),
                may_suspend=not one_in(dice, 5),
                driver=dice.choice((True, True, True, True, None, False)),
                up_s=100.0,
                age_s=dice.choice((0.0, 0.1, 0.1, 60.0)),
                available=available,
                caches=upto(dice, available),
                resident=dice.choice((None, upto(dice, most))),
                overhead=upto(dice, 40 * MIB),
                swap_total=dice.choice((None, upto(dice, most))),
                swap_used=dice.choice((None, upto(dice, most))),
            )
        )
    return seen


def history(seed: int, ticks: int, count: int) -> list[Step]:
    """The history of that seed: orders are carried out, guests report anything, and somebody meddles at times."""
    guests = [life(f"{seed}", f"g{number}", ticks) for number in range(count)]
    dice = Random(f"{seed} host")
    choice = dice.choice((*CHOICES, "suspend", "suspend"))
    capacity = dice.randint(64, 1500) * MIB
    state = Engine(Rules(), policy_named("ladder")).start()
    targets: dict[str, int] = {}
    paused: set[str] = set()
    now, steps = 10.0, []
    for tick in range(ticks):
        if one_in(dice, 10):
            choice = dice.choice(CHOICES)
        now += dice.choice((0.3, 1.0, 6.0, 12.0, 40.0))
        shown = []
        for seen in guests:
            guest = seen[tick]
            if not guest.running:
                paused ^= {guest.key}
            size = targets.get(guest.key, guest.max)
            available = min(guest.available or 0, size)
            runs = guest.key not in paused
            shown.append(msgspec.structs.replace(guest, actual=size, available=available, running=runs))
        snapshot = Snapshot(Host(capacity, upto(dice, capacity)), tuple(shown))
        state, decisions = Engine(Rules(overload=choice), policy_named("ladder")).step(state, snapshot, now)
        for decision in decisions:
            if isinstance(decision, SetTarget):
                targets[decision.key] = decision.size
            elif isinstance(decision, Suspend):
                paused.add(decision.key)
            elif isinstance(decision, Resume):
                paused.discard(decision.key)
        steps.append(Step(choice, snapshot, state, decisions, now))
    return steps


def histories() -> st.SearchStrategy[list[Step]]:
    """Up to 28 ticks of up to five guests. As in tests/core/histories.py what happens comes from a seed."""
    ticks, count = st.sampled_from((14, 28, 7, 3, 1)), st.sampled_from((4, 3, 5, 2, 1, 0))
    return st.builds(history, st.integers(0, 2**32), ticks=ticks, count=count)


@given(histories())
def test_every_guest_gets_exactly_one_decision(history: list[Step]) -> None:
    for step in history:
        assert [d.key for d in step.decisions] == [g.key for g in step.snapshot.guests]


@example(history(9760, ticks=14, count=4))  # one was told to run, and does not yet
@given(histories())
def test_only_guests_that_opted_in_are_stopped_and_one_of_them_runs(history: list[Step]) -> None:
    for step in history:
        orders = {d.key: d for d in step.decisions}
        opted = [g for g in step.snapshot.guests if g.may_suspend and g.managed]
        stopped = [g for g in step.snapshot.guests if isinstance(orders[g.key], Suspend)]
        assert all(g in opted and g.running and g.pid is not None for g in stopped)
        if stopped:
            assert step.choice == "suspend"
            assert any(isinstance(orders[g.key], Resume) or (g.running and g not in stopped) for g in opted)


@given(histories())
def test_whoever_waits_does_so_for_one_that_runs(history: list[Step]) -> None:
    """Or for one that was told to a moment ago."""
    for step in history:
        opted = [g for g in step.snapshot.guests if g.may_suspend and g.managed]
        pauses = [(g, step.after.tracks[g.key].pause) for g in opted]
        waits = any(pause is not None and pause.resumed_at is None for _, pause in pauses)
        runs = any(g.running and (pause is None or pause.resumed_at is not None) for g, pause in pauses)
        is_told = any(pause is not None and not is_due(pause, step.now) for _, pause in pauses)
        assert runs or is_told or not waits


@given(histories())
def test_only_what_we_stopped_is_resumed_and_nothing_stays_stopped_under_another_choice(
    history: list[Step],
) -> None:
    ours: dict[str, int | None] = {}
    unseen: set[str] = set()
    """Told to stop, and not seen stopped since: whoever let it run meanwhile, nobody can tell that it ever stopped."""
    unclear: set[str] = set()
    """Told to run in case it was about to stop: when it stands still after that, nobody can tell by whom."""
    for step in history:
        for guest, decision in zip(step.snapshot.guests, step.decisions, strict=True):
            if not guest.running:
                unseen.discard(guest.key)
            is_back = guest.running and guest.key not in unseen
            if is_back or guest.pid not in (ours.get(guest.key), None):
                ours.pop(guest.key, None)
            if isinstance(decision, Resume):
                assert guest.running or guest.key in ours or guest.key in unclear
                if guest.running:  # in case the order to stop was lost, or is late; it harms nobody
                    ours.pop(guest.key, None)
                    unseen.discard(guest.key)
                    unclear.add(guest.key)
            elif isinstance(decision, Suspend):
                ours[guest.key] = guest.pid
                unseen.add(guest.key)
                unclear.discard(guest.key)
            elif guest.key in ours and not guest.running and step.choice != "suspend":
                # It was told to run less than a second ago.
                assert decision.reason is Reason.WAIT_TURN


def lives(guest: Guest, pause: Pause, now: float) -> bool:
    """It was told to run, and has sent statistics since a stop of ours can have come last: none is left."""
    is_told, said = pause.resumed_at is not None, guest.age_s
    return guest.running and is_told and said is not None and now - said > pause.at + LAND_S


@example(
    history(170861, ticks=3, count=4)
)  # two are told to run at the end, and send statistics just after that
@given(histories())
def test_leaving_resumes_all_that_is_stopped_by_us(history: list[Step]) -> None:
    last = history[-1]
    after = last.now + 0.1
    farewell = Engine(Rules(), policy_named("ladder")).farewell(last.after, last.snapshot, after)
    told = {d.key for d in farewell if isinstance(d, Resume)}
    ours = [(g, pause) for g in last.snapshot.guests if (pause := last.after.tracks[g.key].pause) is not None]
    assert told == {g.key for g, pause in ours if not lives(g, pause, after)}


@given(histories())
def test_i2_no_grant_promises_more_than_the_pool_holds(history: list[Step]) -> None:
    for step in history:
        assert step.after.account is not None
        assert step.after.wishes is not None
        grown = sum(
            d.size - max(d.before, g.actual, g.resident or 0)
            for d, g in zip(step.decisions, step.snapshot.guests, strict=True)
            if isinstance(d, SetTarget) and d.reason not in FOLLOWS and d.size > max(d.before, g.actual)
        )
        assert grown <= max(0, step.after.account.room) + step.after.wishes.excess


@given(histories())
def test_i8_need_is_taken_only_where_the_guest_has_swap_of_its_own(history: list[Step]) -> None:
    for step in history:
        assert step.after.wishes is not None
        for guest, decision in zip(step.snapshot.guests, step.decisions, strict=True):
            if not isinstance(decision, SetTarget) or decision.reason in FOLLOWS:
                continue
            if decision.size >= decision.before:
                continue
            reading = step.after.tracks[guest.key].reading
            assert reading is not None
            assert decision.size >= min(guest.floor, guest.top) - PAGE
            missing = min(reading.need, guest.top) - PAGE - decision.size
            if missing > 0:
                assert step.choice == "guest-swap"
                assert step.after.wishes.over > 0
                assert decision.reason is Reason.TAKE_NEED
                assert missing <= spare_swap(guest) + reading.swapped


# Over hours: guests whose need stands still.

TICK_S = 10
LONG_S = 1200
"""Some thirty turns of guests that need 100 MiB each."""


def hours(
    needs: list[int],
    shares: list[int],
    room: int,
    seconds: int,
    until: int | None = None,
    again: int | None = None,
    told: list[tuple[int, AnyDecision]] | None = None,
) -> tuple[list[float], list[list[bool]], State]:
    """(seconds that each ran, who ran at each tick, the state): guests of these needs (MiB) that all opted in, on a
    host that has `room` MiB for them; from the second `until` on they need 40 MiB each, until `again` where it is said.
    What was decided is added to `told`, with its second.
    """
    engine = Engine(Rules(overload="suspend"), policy_named("ladder"))
    state = engine.start()
    count = len(needs)
    sizes, running = [1024 * MIB] * count, [True] * count
    ran, seen = [0.0] * count, []
    capacity = (room + 30 * count) * MIB * 20 // 19  # less the reserve, and every QEMU's overhead
    for now in range(0, seconds, TICK_S):
        rests = until is not None and until <= now < (seconds if again is None else again)
        wanted = [40] * count if rests else needs
        guests = tuple(
            Guest(
                key=f"g{i}", name=f"g{i}", max=1024 * MIB, actual=sizes[i], shares=shares[i], pid=1 + i,
                running=running[i], may_suspend=True, driver=True, up_s=100.0 + now, age_s=0.1 if running[i] else 99.0,
                available=max(0, sizes[i] - wanted[i] * MIB), caches=0, resident=wanted[i] * MIB if running[i] else 0,
                overhead=30 * MIB,
            )
            for i in range(count)
        )  # fmt: skip
        held = sum((guest.resident or 0) + 30 * MIB for guest in guests)
        snapshot = Snapshot(Host(capacity, max(0, capacity - held)), guests)
        state, decisions = engine.step(state, snapshot, float(now))
        for i, decision in enumerate(decisions):
            if isinstance(decision, SetTarget):
                sizes[i] = decision.size
            elif isinstance(decision, Suspend | Resume):
                running[i] = isinstance(decision, Resume)
            ran[i] += running[i] * TICK_S
        if told is not None:
            told += [(now, decision) for decision in decisions]
        seen.append(list(running))
    return ran, seen, state


def longest_turn(needs: list[int], room: int) -> float:
    """Seconds, with the squeeze: at the speed that is taken until one is measured, 10 times out and in at 100 MiB/s."""
    moved = min(max(needs), max(0, sum(needs) - room)) + KEPT
    return max(TURN_S, 10 * 2 * moved / 100) + overload.SQUEEZE_S + TICK_S


KEPT = 28
"""MiB that each of these guests keeps beyond its need."""


@given(st.lists(st.sampled_from([500, 1000, 2000, 4000]), min_size=2, max_size=4), st.integers(3, 97))
def test_where_one_fits_each_runs_by_its_shares(shares: list[int], more: int) -> None:
    needs, room = [100] * len(shares), 100 + KEPT + more
    ran, seen, _ = hours(needs, shares, room, LONG_S)
    began = TICK_S * next(n for n, runs in enumerate(seen) if not all(runs))
    assert all(any(runs) for runs in seen)
    per_share = [(each - began) * 1000 / share for each, share in zip(ran, shares, strict=True)]
    assert max(per_share) - min(per_share) <= 2 * longest_turn(needs, room) * 1000 / min(shares)


@given(st.integers(2, 5), st.integers(1, 4), st.integers(3, 97))
def test_where_some_fit_all_run_alike(count: int, fits: int, more: int) -> None:
    needs, room = [100] * count, (100 + KEPT) * fits + more
    ran, seen, _ = hours(needs, [1000] * count, room, LONG_S)
    fits = min(count, fits)
    assert max(ran) - min(ran) <= 3 * longest_turn(needs, room)
    assert all(1 <= sum(runs) <= fits for runs in seen[300 // TICK_S :])
    assert sum(ran) >= 0.9 * fits * LONG_S


@given(st.lists(st.integers(50, 400), min_size=2, max_size=5), st.integers(60, 900))
def test_nobody_waits_for_ever_and_never_all(needs: list[int], room: int) -> None:
    _, seen, _ = hours(needs, [1000] * len(needs), room, 1800)
    for i in range(len(needs)):
        waits = waited = 0
        for runs in seen:
            waits = 0 if runs[i] else waits + TICK_S
            waited = max(waited, waits)
        assert waited <= 2 * len(needs) * longest_turn(needs, room)
    assert all(any(runs) for runs in seen)


@example([150, 178, 50], 6)  # the last turn ends between two ticks
@example([143, 173, 61], 3)  # two of the turns last longer than one: see below
@given(st.lists(st.integers(50, 400), min_size=2, max_size=5), st.integers(0, 500))
def test_when_there_is_room_all_run(needs: list[int], more: int) -> None:
    """What one needs that is stopped is known when it runs again: it may have to wait for its turn.

    One that begins up to a turn behind the next in line runs until it is half a turn ahead of it: for one and a half.
    """
    room = round(((40 + KEPT) * len(needs) + more) * 1.1 + 10)  # a twelfth of the pool at most is kept
    turns = ceil(1.5 * len(needs) * longest_turn(needs, room) / TICK_S)
    then = 300 + turns * TICK_S
    forgotten = then + TICK_S + round(overload.LEAVE_S)  # a tick later they are seen to run
    _, seen, state = hours(needs, [1000] * len(needs), room, forgotten + TICK_S, until=300)
    assert all(all(runs) for runs in seen[then // TICK_S :])
    assert not state.load.is_on


@example(2, 800, 0, 300, 120)
@example(2, 300, 80, 251, 30)
@given(
    st.integers(2, 4), st.integers(300, 900), st.integers(0, 100), st.integers(60, 600), st.integers(10, 300)
)
def test_a_turn_pays_for_what_the_last_stop_moved_also_where_all_fit_in_between(
    count: int, need: int, more: int, until: int, rests_s: int
) -> None:
    room, again = (need + KEPT) * (count - 1) + more, until + rests_s
    told: list[tuple[int, AnyDecision]] = []
    hours([need] * count, [1000] * count, room, again + 300, until=until, again=again, told=told)
    begun: dict[str, int] = {}
    moved: dict[str, float] = {}
    for now, one in told:
        if isinstance(one, Resume):
            begun[one.key] = now
        elif isinstance(one, Suspend):
            if one.key in begun:
                assert now - begun[one.key] >= max(TURN_S, 10 * 2 * moved[one.key] / (100 * MIB))
            moved[one.key] = min(one.numbers["need"], one.numbers["excess"])
