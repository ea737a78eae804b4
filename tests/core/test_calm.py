"""Who may be looked at less often, and that nobody in need waits longer for it."""

import msgspec
from hypothesis import given

from autoballoon.core.calm import CALM_EVERY_S, FEW, SETTLED_S, calm
from autoballoon.core.health import SILENT_S
from autoballoon.core.pace import FIRST_S
from autoballoon.core.units import GIB, MIB
from tests.core.histories import History, histories, play
from tests.core.world import Tame, World


def idle(key: str, need: int = 100 * MIB) -> Tame:
    return Tame(key, lambda now: need, cache_want=60 * MIB)


def calm_in(world: World) -> set[str]:
    return set(calm(world.state, world.now, few=0))


def test_idle_guests_on_a_roomy_host_are_calm_once_they_are_known() -> None:
    world = World([idle("a"), idle("b")], 2 * GIB)
    world.run(FIRST_S)
    assert calm_in(world) == set()
    world.run(10)
    assert calm_in(world) == {"a", "b"}
    assert set(calm(world.state, world.now, wary=False, few=0)) == set()


def test_a_few_guests_are_never() -> None:
    world = World([idle(f"i{n}") for n in range(FEW)], 16 * GIB)
    world.run(FIRST_S + 10)
    assert list(calm(world.state, world.now)) == []
    world.guests.append(idle("another"))
    world.run(FIRST_S + 20)
    assert len(calm(world.state, world.now)) == FEW + 1


def test_one_that_grows_or_has_little_left_is_not() -> None:
    wave = Tame("wave", lambda now: 100 * MIB + (round(20 * MIB * (now - 60)) if now > 60 else 0))
    tight = Tame("tight", lambda now: 480 * MIB, floor=512 * MIB)
    world = World([idle("a"), wave, tight], 4 * GIB)
    world.run(60)
    assert calm_in(world) == {"a", "wave"}
    world.run(4)
    assert calm_in(world) == {"a"}


def test_nobody_is_while_the_host_is_short() -> None:
    world = World([idle("a"), idle("b")], 2 * GIB, other=lambda now: 0 if now < 60 else 1700 * MIB)
    world.run(60)
    assert calm_in(world) == {"a", "b"}
    world.run(2)
    assert calm_in(world) == set()


def test_one_that_has_just_moved_is_not() -> None:
    world = World([idle("a"), idle("b")], 2 * GIB)
    world.run(60)
    moved = msgspec.structs.replace(world.state.tracks["a"], changed_at=world.now)
    state = msgspec.structs.replace(world.state, tracks={**world.state.tracks, "a": moved})
    assert set(calm(state, world.now, few=0)) == {"b"}
    assert set(calm(state, world.now + SETTLED_S, few=0)) == {"a", "b"}


@given(histories())
def test_no_calm_guest_falls_due_to_be_asked_or_silent_before_its_next_look(ticks: History) -> None:
    for step in play(ticks):
        relaxed = calm(step.after, step.now, few=0)
        for key in relaxed:
            reading = step.after.tracks[key].reading
            assert reading is not None
            # Looked at once more at once, when it becomes calm: from then on its readings are of such an age.
            then = reading.taken_at + CALM_EVERY_S + 1.0
            assert key not in step.engine.curious(step.after, then)
            assert CALM_EVERY_S + 1.0 + 1.0 < SILENT_S


def test_a_burst_out_of_calm_is_met_as_well() -> None:
    """Looked at each two seconds, a calm guest that begins to grow at 150 MiB/s starves longer by a look, at most."""

    def burst(now: float) -> int:
        return 100 * MIB + min(250 * MIB, max(0, round((now - 90.3) * 150 * MIB)))

    starved = []
    for every_s in (1.0, CALM_EVERY_S):
        world = World(
            [Tame("a", burst), *(idle(f"i{n}") for n in range(5))], 6 * 325 * MIB, calm_every_s=every_s
        )
        world.run(90)
        world.run(20)
        assert not world.broken
        starved.append(world.guests[0].starved)
    assert starved[1] <= starved[0] + 0.2 * 150 * MIB
