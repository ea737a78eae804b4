"""While the host is not short, nobody is shrunk before 30 s of readings, nor by more than 5 % of its size each 10 s."""

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core import pace
from autoballoon.core.health import observe
from autoballoon.core.model import Guest, Reason, SetTarget
from autoballoon.core.units import GIB, MIB, PAGE
from tests.core.histories import History, Step, histories, play
from tests.core.world import Tame, World

EVERY_S, FIRST_S, PART = 10.0, 30.0, 0.05


def is_short(step: Step) -> bool:
    """As the operator is told: charges and cushion over the pool, available under the reserve, or foreseen to be so."""
    account, wishes = step.after.account, step.after.wishes
    assert account is not None
    assert wishes is not None
    targets = {key: track.target for key, track in step.after.tracks.items()}
    targets |= {one.key: one.before for one in step.decisions if isinstance(one, SetTarget)}
    lacking = sum(
        max(0, max(wish.urgent, wish.used) - targets[key])
        for key, wish in wishes.wishes.items()
        if key in targets
    )
    return account.room - lacking < account.cushion or account.available < account.reserve or wishes.over > 0


def hurried(step: Step) -> list[str]:
    """What a step on a host that is not short took too soon or too fast."""
    wishes = step.after.wishes
    assert wishes is not None
    found = []
    for decision in step.decisions:
        is_shrink = isinstance(decision, SetTarget) and decision.size < decision.before
        if not is_shrink or decision.reason in (Reason.BOOT, Reason.STUCK, Reason.MANUAL, Reason.DEFLATED):
            continue
        assert isinstance(decision, SetTarget)
        track = step.after.tracks[decision.key]
        before = step.before.tracks.get(decision.key)
        if before is None or step.now - max(track.met_at, track.ok_since) < FIRST_S:
            found.append(f"{decision.guest} was hardly met")
        elif step.now - before.paced_at < EVERY_S or decision.before - decision.size > decision.before * PART:
            found.append(f"{decision.guest} was shrunk too fast")
    return found


@given(histories())
def test_no_step_on_a_host_that_is_not_short_takes_too_soon_or_too_fast(ticks: History) -> None:
    for step in play(ticks):
        assert is_short(step) or hurried(step) == []


def uneven(seed: int) -> World:
    """Guests of any size, most of them with more than they need, and a host with room for that."""
    dice = Random(seed)
    guests = []
    for number in range(dice.randint(2, 5)):
        most = dice.randint(200, 8000) * MIB // PAGE * PAGE
        need = dice.randint(30 * MIB, most // 3)
        size = dice.randint(need + 60 * MIB, most) // PAGE * PAGE
        one = Tame(f"g{number}", lambda now, need=need: need, max=most, floor=most // 10)  # type: ignore[misc]
        one.actual = one.target = size
        guests.append(one)
    held = sum(guest.actual + guest.overhead for guest in guests)
    return World(guests, round(held * dice.uniform(1.2, 1.5)))


@given(st.integers(0, 2**32))
def test_sizes_fall_slowly_where_the_host_has_room(seed: int) -> None:
    world = uneven(seed)
    sizes: dict[str, list[tuple[float, int]]] = {guest.key: [(0.0, guest.target)] for guest in world.guests}
    for _ in range(70):
        world.run(1.0)
        account = world.state.account
        if account is None or account.room < account.cushion:
            return  # a guest's cache grew into its balloon's place: short, as far as this test can tell
        for guest in world.guests:
            seen = sizes[guest.key]
            most = max(size for at, size in seen if at > world.now - EVERY_S)
            least = most if world.now < FIRST_S else most * (1 - PART)
            assert guest.target >= least, f"{guest.key} at {world.now:.1f} s: {seen} -> {guest.target}"
            seen.append((world.now, guest.target))


def test_some_of_these_worlds_shrink_somebody() -> None:
    """Or the test above would say nothing."""
    shrunk = 0
    for seed in range(20):
        world = uneven(seed)
        before = {guest.key: guest.target for guest in world.guests}
        world.run(45.0)
        shrunk += any(guest.target < before[guest.key] for guest in world.guests)
    assert shrunk >= 5


@pytest.mark.parametrize("size", [200 * MIB, GIB, 64 * GIB, 999 * MIB + 123])
def test_a_step_is_a_twentieth_of_the_size_whatever_the_guest_could_have(size: int) -> None:
    guest = Guest("web", "web", 64 * GIB, size)
    track = msgspec.structs.replace(observe(None, guest, 0.0), met_at=-1e9)
    aim = size // 2 // PAGE * PAGE
    to, bar = pace.paced_shrink(msgspec.structs.replace(guest, max=size), track, aim, now=100.0, wanted=True)
    assert bar is None
    assert 0 <= to - size * 0.95 < 2 * PAGE


def test_slow_moves_that_have_begun_go_on_to_the_end() -> None:
    guest = Guest("web", "web", 4 * GIB, 2 * GIB)
    track = observe(None, guest, 0.0)
    assert pace.worth(guest, track, 50.0) == 2 * pace.dead_band(guest)
    assert pace.worth(guest, msgspec.structs.replace(track, paced_at=40.0), 50.0) == pace.dead_band(guest)


def test_what_nobody_has_a_use_for_goes_more_slowly() -> None:
    guest = Guest("web", "web", 4 * GIB, 2 * GIB)
    track = msgspec.structs.replace(observe(None, guest, 0.0), met_at=-1e9, paced_at=85.0)
    barred = {
        wanted: pace.paced_shrink(guest, track, GIB, now=100.0, wanted=wanted)[1] for wanted in (True, False)
    }
    assert barred == {True: None, False: Reason.PACED}
