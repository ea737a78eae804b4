"""Load control, told as stories in a small world on virtual time whose host can swap."""

from collections.abc import Callable

import pytest

from autoballoon.core import contest
from autoballoon.core.engine import Engine, Rules
from autoballoon.core.kept import Kept
from autoballoon.core.model import Reason, Resume, SetTarget, Suspend
from autoballoon.core.overload import ENTER_S, ROOM_S
from autoballoon.core.pause import AGAIN_S, SHOW_S, SPARE_S
from autoballoon.core.swap import CHANGE_S, TURN_S
from autoballoon.core.units import MIB
from autoballoon.policies import policy_named
from tests.core.world import Tame, World

SWAP = 200 * MIB


def burst(at: float, base: int, peak: int, until: float = 1e9) -> Callable[[float], int]:
    """A need of `base` that grows to `peak` MiB from `at` on, at 150 MiB/s, and is gone again from `until` on."""

    def need(now: float) -> int:
        return round(min(peak, max(base, base + (now - at) * 150)) if now < until else base) * MIB

    return need


def crowd(count: int, peak: int = 380, until: float = 1e9, shares: tuple[int, ...] = ()) -> list[Tame]:
    """Guests that all grow at 20 s, and may be stopped."""
    return [
        Tame(
            f"g{i}",
            burst(20, 60, peak, until),
            may_suspend=True,
            pid=100 + i,
            shares=shares[i] if shares else 1000,
        )
        for i in range(count)
    ]


def world_of(guests: list[Tame], capacity: int = 1000, overload: str = "suspend", swap: int = SWAP) -> World:
    return World(guests, capacity * MIB, rules=Rules(overload=overload), swap=swap)


def said(world: World, *kinds: type) -> list[tuple[float, str, Reason]]:
    return [(at, d.key, d.reason) for at, d in world.decisions if isinstance(d, kinds)]


def stopped(world: World) -> list[str]:
    return [guest.key for guest in world.guests if not guest.running]


def watched(world: World, seconds: float, holds: Callable[[], bool]) -> None:
    """Let time pass in small steps; `holds` is asserted after each."""
    for _ in range(round(seconds / 0.5)):
        world.run(0.5)
        assert holds(), [(g.key, g.running) for g in world.guests]


def test_when_needs_exceed_the_pool_one_is_stopped_and_those_that_run_fit() -> None:
    world = world_of(crowd(3))
    world.run(60)
    ((at, key, reason),) = said(world, Suspend)
    assert reason is Reason.OVERLOAD
    assert 22 + ENTER_S - 1 <= at <= 22 + ENTER_S + 5
    assert stopped(world) == [key]
    running = [g for g in world.guests if g.running]
    assert all(g.swapped == 0 and g.actual >= 380 * MIB for g in running)
    (waits,) = [d for _, d in world.decisions[-3:] if d.key == key]
    assert waits.reason is Reason.WAIT_TURN


def test_what_lies_in_guests_swap_when_they_are_met_is_no_overload() -> None:
    """A daemon that starts anew beside guests that were squeezed months ago."""
    guests = crowd(3, peak=60)
    for guest in guests:
        guest.swap_total, guest.cold_swap = 1024 * MIB, 256 * MIB
    world = world_of(guests, capacity=800)
    world.run(90)
    assert said(world, Suspend) == []


@pytest.mark.parametrize("overload", ["suspend", "host-swap"])
def test_floors_beyond_the_pool_are_no_overload(overload: str) -> None:
    """Guests that were smaller than their floors before anybody balanced them, and need less."""
    guests = [
        Tame(
            f"g{i}",
            burst(20, 60, 130 if i == 0 else 60),
            max=1024 * MIB,
            floor=256 * MIB,
            actual=100 * MIB,
            target=100 * MIB,
            may_suspend=True,
            pid=100 + i,
        )
        for i in range(6)
    ]
    world = world_of(guests, capacity=1200, overload=overload)
    world.run(90)
    assert said(world, Suspend) == []
    assert all(guest.swapped == 0 and guest.starved < 40 * MIB for guest in world.guests)
    assert world.state.wishes is not None and world.state.wishes.over == 0
    assert min(guest.actual for guest in world.guests) > 100 * MIB, "what is free goes to their floors"


def test_a_burst_that_passes_stops_nobody() -> None:
    world = world_of(crowd(3, until=20 + 2 + ENTER_S - 2))
    world.run(90)
    assert said(world, Suspend) == []


def test_they_take_turns_that_pay_and_run_alike() -> None:
    world = world_of(crowd(3))
    world.run(600)
    ran = [guest.ran for guest in world.guests]
    assert len(said(world, Suspend)) > 7
    assert max(ran) - min(ran) < 3 * TURN_S
    assert sum(ran) > 0.9 * 600 * 2  # two of the three fit, and less than a tenth goes to moving
    for guest in world.guests:
        for begun, ended in zip(guest.stops[1::2], guest.stops[2::2], strict=False):
            assert ended - begun >= TURN_S


def test_the_host_swaps_far_less_than_without() -> None:
    swapped = {}
    for overload in ("host-swap", "suspend"):
        world = world_of(crowd(3), overload=overload)
        world.run(400)
        swapped[overload] = world.swap_in
    assert swapped["suspend"] < swapped["host-swap"] / 5


def test_shares_decide_how_long_each_runs() -> None:
    world = world_of(crowd(2, peak=500, shares=(2000, 1000)), capacity=900)
    world.run(700)
    gold, tin = world.guests
    assert 1.7 < (gold.ran - 32) / (tin.ran - 32) < 2.3


def test_never_all_of_them_are_stopped_whatever_they_need() -> None:
    world = world_of(crowd(3, peak=470), capacity=500)
    watched(world, 300, lambda: len(stopped(world)) < 3)
    assert len(stopped(world)) == 2
    assert all(
        len(guest.stops) > 1 for guest in world.guests
    )  # one alone does not fit either, and has its turn


def test_when_the_one_that_ran_goes_the_one_that_waits_runs_though_it_does_not_fit() -> None:
    world = world_of(crowd(2, peak=470), capacity=400)
    world.run(60)
    (waits,) = stopped(world)
    world.guests = [guest for guest in world.guests if guest.key == waits]
    world.run(2)
    assert stopped(world) == []


def test_who_did_not_opt_in_is_never_stopped() -> None:
    guests = crowd(3)
    guests[2].may_suspend = False
    world = world_of(guests)
    watched(world, 400, lambda: guests[2].running and stopped(world) != ["g0", "g1"])
    assert stopped(world)


def test_one_alone_that_opted_in_runs() -> None:
    guests = crowd(3)
    guests[0].may_suspend = guests[1].may_suspend = False
    world = world_of(guests)
    world.run(100)
    assert said(world, Suspend) == []


def test_without_a_verified_process_nobody_is_stopped() -> None:
    guests = crowd(3)
    for guest in guests:
        guest.pid = None
    world = world_of(guests)
    world.run(100)
    assert said(world, Suspend) == []


def test_when_there_is_room_again_all_run_and_turns_are_forgotten() -> None:
    world = world_of(crowd(4, peak=330, until=150))
    world.run(149)
    assert stopped(world)
    world.run(2 + 2 * (ROOM_S + 4))
    assert stopped(world) == []
    assert said(world, Resume)[-1][2] is Reason.ROOM
    world.run(80)
    assert not world.state.load.is_on
    assert world.state.load.runs == {}


def test_one_that_is_stopped_gives_up_what_it_does_not_need_first() -> None:
    """A load of the host pushes out the one that waits; then the one that runs grows a cache."""
    world = world_of(crowd(2, peak=330), capacity=640)
    world.other = lambda now: (200 if 45 < now < 50 else 0) * MIB
    world.run(60)
    (waits,) = stopped(world)
    (runs,) = [g for g in world.guests if g.key != waits]
    assert runs.actual > 370 * MIB
    before = len(world.decisions)
    world.run(60)
    mine = [d for _, d in world.decisions[before:] if d.key == runs.key]
    (squeeze,) = [d for d in mine if isinstance(d, SetTarget) and d.reason is Reason.SQUEEZE]
    (stop,) = [d for d in mine if isinstance(d, Suspend)]
    assert mine.index(squeeze) < mine.index(stop)
    assert 330 * MIB <= squeeze.size < 370 * MIB
    assert runs.actual == squeeze.size


def test_one_that_does_not_give_is_stopped_all_the_same() -> None:
    guests = crowd(2, peak=330)
    world = world_of(guests, capacity=640)
    world.run(45)
    for guest in guests:
        guest.obeys = False
    world.run(60)
    assert Reason.TURN_OVER in {reason for *_, reason in said(world, Suspend)}


def beside_a_hoarder(overload: str) -> World:
    """One whose balloon does nothing keeps 512 MiB and needs 60; two others need 250 each of some 830."""
    hoarder = Tame("hoarder", lambda now: 60 * MIB, obeys=False, pid=99)
    return world_of([hoarder, *crowd(2, peak=250)], overload=overload)


def test_what_one_refuses_to_give_is_needed_elsewhere_and_somebody_is_stopped() -> None:
    world = beside_a_hoarder("suspend")
    world.run(60)
    assert [reason for *_, reason in said(world, Suspend)] == [Reason.OVERLOAD]
    watched(world, 40, lambda: len(stopped(world)) == 1)  # it is asked again meanwhile, and gives nothing
    world.guests[0].obeys = True
    world.run(60)
    assert stopped(world) == []
    assert not world.state.tracks["hoarder"].refuses
    assert world.broken == set()


def test_beside_one_that_refuses_to_give_nobody_is_left_below_its_need() -> None:
    world = beside_a_hoarder("host-swap")
    world.run(60)
    assert all(guest.actual >= 250 * MIB for guest in world.guests[1:])
    assert world.state.wishes is not None and world.state.wishes.over > 0
    assert world.broken == set()


def test_a_silent_guest_is_not_spared() -> None:
    guests = crowd(3)
    world = world_of(guests)
    world.run(21)
    guests[2].speaks = False
    world.run(200)
    assert guests[2].stops


def test_turns_are_longer_where_swapping_is_slow() -> None:
    at_ease, slow = world_of(crowd(3), swap=SWAP), world_of(crowd(3), swap=20 * MIB)
    for world in (at_ease, slow):
        world.run(600)
    assert len(said(slow, Suspend)) < len(said(at_ease, Suspend)) / 2
    assert slow.state.load.speed.into.speed < 60 * MIB


# What others do with guests that we stopped, or did not.


def test_one_that_somebody_else_stopped_is_left_alone() -> None:
    world = world_of(crowd(3, until=100))
    world.run(15)
    world.guests[0].running = False
    world.run(400)
    assert not world.guests[0].running
    assert not [d for _, d in world.decisions if d.key == "g0" and isinstance(d, Resume | Suspend)]


def test_one_that_somebody_let_run_is_not_stopped_again_at_once() -> None:
    world = world_of(crowd(3))
    world.run(60)
    (key,) = stopped(world)
    (freed,) = [guest for guest in world.guests if guest.key == key]
    freed.running = True
    count = len(freed.stops)
    watched(world, SPARE_S - 10, lambda: freed.running)
    assert len(freed.stops) == count
    assert len(stopped(world)) == 1  # another one makes room
    world.run(200)
    assert len(freed.stops) > count


def test_one_that_cannot_be_stopped_is_left_alone_and_another_stops() -> None:
    guests = crowd(3)
    guests[2].orders = False
    world = world_of(guests)
    world.run(22 + ENTER_S + SHOW_S + 20)
    tried = [key for _, key, _ in said(world, Suspend)]
    assert tried[0] == "g2"
    assert tried.count("g2") == 1
    assert len(stopped(world)) == 1


def test_one_that_does_not_take_the_order_to_run_is_told_again() -> None:
    world = world_of(crowd(3))
    world.run(60)
    (key,) = stopped(world)
    (jammed,) = [guest for guest in world.guests if guest.key == key]
    jammed.orders = False
    world.run(60)
    told = [at for at, one, _ in said(world, Resume) if one == key]
    assert len(told) > 5
    assert told[1] - told[0] >= AGAIN_S
    jammed.orders = True
    world.run(5)
    assert jammed.running


def test_while_one_does_not_take_the_order_to_run_another_runs() -> None:
    world = world_of(crowd(2, peak=470), capacity=500)
    world.run(60)
    (jammed,) = [guest for guest in world.guests if not guest.running]
    jammed.orders = False
    stood = longest = 0.0
    for _ in range(200):
        world.run(0.5)
        stood = stood + 0.5 if len(stopped(world)) == 2 else 0.0
        longest = max(longest, stood)
    assert jammed.key in {key for _, key, _ in said(world, Resume)}
    assert longest <= 2 * AGAIN_S


def test_while_one_does_not_take_the_order_to_run_the_host_is_measured() -> None:
    """Told once more it changes places with nobody; as a change it would put off the end of the measuring for ever."""
    world = world_of(crowd(3), swap=20 * MIB)
    world.run(60)
    for guest in world.guests:
        guest.orders = guest.running
    world.run(120)
    told = [at for at, _, _ in said(world, Resume)]
    assert len(told) > 5
    stops = [at for at, _, _ in said(world, Suspend)]
    last = max([told[0], *stops])
    assert world.state.load.speed.changes_until == pytest.approx(last + CHANGE_S)


def test_one_that_does_not_take_the_order_to_run_does_not_end_the_turns_of_others() -> None:
    world = world_of(crowd(4), capacity=900)
    world.run(60)
    jammed = next(guest for guest in world.guests if not guest.running)
    jammed.orders = False
    others = [guest for guest in world.guests if guest is not jammed]
    world.run(60)
    before = [guest.ran for guest in others]
    watched(world, 600, lambda: any(guest.running for guest in others))
    ran = [guest.ran - had for guest, had in zip(others, before, strict=True)]
    assert jammed.key in {key for _, key, _ in said(world, Resume)}
    assert min(ran) > 0.5 * max(ran), ran
    jammed.orders = True
    world.run(300)
    assert jammed.ran > 0


@pytest.mark.parametrize("overload", ["host-swap", "guest-swap"])
def test_another_choice_lets_all_run_that_we_stopped(overload: str) -> None:
    world = world_of(crowd(3))
    world.run(60)
    world.engine = Engine(Rules(overload=overload), policy_named("ladder"))
    world.run(2)
    assert stopped(world) == []
    assert said(world, Resume)[-1][2] is Reason.RELEASE


def test_one_that_may_not_be_stopped_any_more_runs() -> None:
    world = world_of(crowd(3))
    world.run(60)
    (key,) = stopped(world)
    (guest,) = [guest for guest in world.guests if guest.key == key]
    guest.may_suspend = False
    world.run(2)
    assert guest.running


def test_leaving_lets_all_run_that_we_stopped_and_no_other() -> None:
    world = world_of(crowd(4))
    world.run(15)
    world.guests[0].running = False
    world.run(60)
    ours = [key for key in stopped(world) if key != "g0"]
    assert ours
    farewell = world.engine.farewell(world.state, world.snapshot(), world.now)
    assert [d.key for d in farewell if isinstance(d, Resume)] == ours
    world.carry_out(farewell)
    assert stopped(world) == ["g0"]


def test_leaving_hands_out_nothing_that_those_who_run_again_were_promised() -> None:
    world = world_of(crowd(3))
    world.run(100)
    (key,) = stopped(world)
    guest = next(guest for guest in world.guests if guest.key == key)
    assert guest.swapped > 100 * MIB, "what it was promised is not resident"
    world.capacity += 150 * MIB
    farewell = world.engine.farewell(world.state, world.snapshot(), world.now)
    given = sum(d.size - d.before for d in farewell if isinstance(d, SetTarget))
    promised = sum(one.target + one.overhead for one in world.guests)
    assert promised > 0.95 * world.capacity and given == 0


def test_a_daemon_that_starts_lets_run_what_the_one_before_it_stopped() -> None:
    world = world_of(crowd(3))
    world.run(60)
    (key,) = stopped(world)
    owed = {key: next(guest.pid or 0 for guest in world.guests if guest.key == key)}
    other = next(guest for guest in world.guests if guest.key != key)
    other.running = False  # by hand, while no daemon ran
    world.state = world.engine.start(Kept(suspended=owed))
    world.run(1)
    assert stopped(world) == [other.key]
    assert said(world, Resume)[-1][2] is Reason.RELEASE
    world.run(1)
    assert world.state.load.owed == {}


def test_another_qemu_at_the_same_socket_is_not_ours_to_resume() -> None:
    world = world_of(crowd(3))
    world.run(60)
    (key,) = stopped(world)
    (guest,) = [guest for guest in world.guests if guest.key == key]
    guest.pid = 999
    for _ in range(2):
        world.run(40)
        assert not guest.running
        world.state = world.engine.start(Kept(suspended={key: 100}))


def test_one_that_was_out_of_sight_runs_when_it_is_back() -> None:
    world = world_of(crowd(3))
    world.run(60)
    (key,) = stopped(world)
    (guest,) = [guest for guest in world.guests if guest.key == key]
    world.guests.remove(guest)
    world.run(20)
    assert world.state.load.owed == {key: guest.pid}
    world.guests.append(guest)
    world.run(2)
    assert guest.running
    assert world.state.load.owed == {}


def test_a_published_rule_knows_no_load_control() -> None:
    class Raw:
        def __getattr__(self, name: str) -> object:
            return True if name == "raw" else getattr(policy_named("ladder"), name)

    world = world_of(crowd(3))
    world.run(60)
    assert stopped(world)
    world.engine = Engine(world.engine.rules, Raw())  # type: ignore[arg-type]
    world.run(2)
    assert stopped(world) == []
    world.run(60)
    assert stopped(world) == []


# A switch for each safeguard: without it, one of the stories above must go wrong.


def test_without_the_lead_those_stopped_are_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest.Contender, "is_ahead_of", lambda one, other: one.run.ran >= other.run.ran)
    world = world_of(crowd(3))
    world.run(300)
    stops = [
        stop for guest in world.guests for stop in zip(guest.stops[::2], guest.stops[1::2], strict=False)
    ]
    assert min(ended - begun for begun, ended in stops) < TURN_S / 4


def test_without_turns_the_host_moves_guests_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "turn_s", lambda speed, moved: 0.0)
    with pytest.raises(AssertionError):
        test_they_take_turns_that_pay_and_run_alike()


def test_one_that_is_being_migrated_is_not_stopped() -> None:
    guests = crowd(3)
    guests[2].migrating = True  # else it would be the first
    world = world_of(guests)
    world.run(60)
    assert [key for _, key, _ in said(world, Suspend)] == ["g1"]
