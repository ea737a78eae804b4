"""What the daemon knows of a guest, and when."""

import pytest

from autoballoon.core.units import GIB, MIB
from autoballoon.sim.guest import Guest
from autoballoon.sim.session import Session
from tests.sim.worlds import living

DT = 0.05


def live(guest: Guest, session: Session, begin: float, end: float) -> list[tuple[float, str]]:
    """Both of them; when a tick would come early, and why."""
    early = []
    for n in range(round(begin / DT) + 1, round(end / DT) + 1):
        guest.live(n * DT, DT)
        guest.settle(DT, 0.0)
        session.step(n * DT)
        if session.early is not None:
            early.append((n * DT, session.early))
            session.early = None
    return early


def test_statistics_come_once_a_second_and_grow_old_between() -> None:
    guest = living(need="100MiB")
    session = Session(guest, 3, 0.0)
    ages = []
    for n in range(1, 100):
        live(guest, session, (n - 1) * DT, n * DT)
        ages.append(session.shown(n * DT).age_s)
    assert all(age is not None and age <= 1.05 for age in ages)
    assert max(age or 0.0 for age in ages) > 0.9


def test_asked_it_tells_at_once() -> None:
    guest = living(need="100MiB", kernel="50MiB")
    session = Session(guest, 3, 0.0)
    live(guest, session, 0.0, 0.3)
    guest.want = guest.anon = 600 * MIB
    assert (session.shown(0.3).available or 0) > 800 * MIB
    assert session.ask(0.3)
    seen = session.shown(0.3)
    assert seen.age_s == 0
    assert (seen.available or 0) < 400 * MIB


def test_one_that_does_not_answer_when_asked_tells_its_size_all_the_same() -> None:
    guest = living(answers_when_asked=False)
    session = Session(guest, 3, 0.0)
    session.order(500 * MIB, 0.0)
    guest.actual = float(700 * MIB)
    assert not session.ask(0.05)
    assert session.shown(0.05).actual == 700 * MIB


def test_a_reading_between_whose_looks_the_guest_was_moved_counts_as_of_before() -> None:
    guest = living(answers_when_asked=False)
    session = Session(guest, 0, 0.0)  # its looks fall on whole seconds, and QEMU polls half a second later
    live(guest, session, 0.0, 1.2)
    session.order(GIB, 1.2)
    live(guest, session, 1.2, 2.0)
    assert session.shown(2.0).age_s == pytest.approx(1.0)
    live(guest, session, 2.0, 3.0)
    assert session.shown(3.0).age_s == pytest.approx(0.0)


def test_a_shrink_that_arrived_brings_a_tick_and_a_fresh_reading() -> None:
    guest = living(inflate="819MiB")
    session = Session(guest, 3, 0.0)
    live(guest, session, 0.0, 1.0)
    session.order(700 * MIB, 1.0)
    early = live(guest, session, 1.0, 3.0)
    (when, why) = early[0]
    assert 1.4 <= when <= 1.6
    assert why == "g is at its size"
    assert session.shown(3.0).actual == 700 * MIB


def test_memory_taken_back_brings_a_tick() -> None:
    guest = living(size="300MiB", need='[["1s", "100MiB"], ["1s", "600MiB"]]')
    session = Session(guest, 3, 0.0)
    session.order(300 * MIB, 0.0)
    early = live(guest, session, 0.0, 3.0)
    assert any(why == "g takes memory back by itself" for _, why in early)


def test_a_reset_is_seen_at_once_and_statistics_of_before_are_void() -> None:
    guest = living(boot="2s", size="500MiB")
    session = Session(guest, 3, 0.0)
    live(guest, session, 0.0, 5.0)
    guest.reset(5.0)
    early = live(guest, session, 5.0, 5.1)
    assert [why for _, why in early] == ["g was reset"]
    seen = session.shown(5.1)
    assert (seen.driver, seen.available, seen.actual) == (False, None, GIB)
    assert seen.up_s == pytest.approx(0.1)
    early = live(guest, session, 5.1, 8.0)
    assert any("driver is up" in why for _, why in early)


def test_counters_that_fall_look_like_a_reset() -> None:
    guest = living()
    session = Session(guest, 3, 0.0)
    guest.swap_in = 100.0 * MIB
    session.ask(1.0)
    guest.swap_in = 1.0 * MIB
    session.ask(9.0)
    assert session.shown(9.5).up_s == pytest.approx(0.5)


@pytest.mark.parametrize(("agent", "known"), [(True, 2 * GIB), (False, None)])
def test_only_an_agent_tells_of_swap(agent: bool, known: int | None) -> None:
    session = Session(living(agent=agent, swap="2GiB"), 3, 0.0)
    assert session.shown(0.0).swap_total == known


def test_a_lying_agent_says_that_it_waits_whatever_its_guest_does() -> None:
    session = Session(living(character="lying-agent", need="300MiB"), 3, 0.0)
    early, late = session.shown(2.0), session.shown(3.0)
    assert (early.psi_some_s, late.psi_some_s) == (2.0, 3.0)
    assert (late.oom_kills or 0) > (early.oom_kills or 0)
    assert late.available == early.available


def test_a_balloon_that_drops_cache_waits_for_it_and_what_is_read_again_is_told() -> None:
    guest = living(agent=True, need="100MiB", files="800MiB", warm="200MiB")
    session = Session(guest, 3, 0.0)
    before = guest.cache.size
    session.order(200 * MIB, 0.0)
    live(guest, session, 0.0, 3.0)
    dropped_mib = (before - guest.cache.size) / MIB
    assert dropped_mib > 500
    told = session.shown(3.0)
    assert (told.psi_some_s or 0) >= 0.9 * dropped_mib / 1000
    assert (told.refaults or 0) > 0


def test_pressure_is_what_the_guests_own_kernel_sees() -> None:
    """It knows nothing of the host's swap, and does not count the work of a balloon that drops no cache."""
    guest = living(agent=True, swap="1GiB", need="300MiB")
    session = Session(guest, 3, 0.0)
    session.order(500 * MIB, 0.0)
    live(guest, session, 0.0, 3.0)
    assert guest.lost_s > 0.05
    guest.settle(1.0, 1.0)
    assert guest.lost_s > 0.5
    assert session.shown(3.0).psi_some_s == 0
    session.order(250 * MIB, 3.0)
    live(guest, session, 3.0, 6.0)
    assert (session.shown(6.0).psi_some_s or 0) > 0.5
