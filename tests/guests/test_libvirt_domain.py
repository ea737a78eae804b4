"""How what libvirt tells of a domain is taken in."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.units import KIB, MIB
from autoballoon.guests.libvirt_domain import Domain
from autoballoon.guests.libvirt_xml import Description
from autoballoon.guests.qmp_guest import Known

OFFERS = Description(ceiling=0, has_balloon=True, may_deflate=True, period_s=1, has_virtio_mem=False)


def domain(says: Description = OFFERS) -> Domain:
    known = Known(name="one", pid=1, max=512 * MIB, actual=512 * MIB, born_at=0.0)
    return Domain("uuid", 1, known, says, seen_at=0.0, reviewed_at=0.0)


def row(
    actual_mib: int = 512, total_mib: int = 480, available_mib: int = 300, update: int = 10
) -> dict[str, object]:
    return {
        "state.state": 1,
        "state.reason": 1,
        "balloon.maximum": 512 * 1024,
        "balloon.current": actual_mib * 1024,
        "balloon.available": total_mib * 1024,
        "balloon.usable": available_mib * 1024,
        "balloon.swap_in": 7,
        "balloon.major_fault": 7,
        "balloon.last-update": update,
    }


def test_names_and_units() -> None:
    one = domain()
    one.learn_row(row(update=10), 1.0)
    assert one.as_guest("key", 1.0).age_s is None, "the first may be of any age"
    one.learn_row(row(update=11), 2.0)
    guest = one.as_guest("key", 2.5)
    assert (guest.total, guest.available) == (480 * MIB, 300 * MIB)
    assert (guest.swap_in, guest.major_faults) == (7 * KIB, 7)
    assert guest.age_s == 0.5 and guest.driver is True and guest.deflates_itself is True


def test_what_is_not_told_is_missing_only_while_it_is_not() -> None:
    one = domain()
    one.learn_row(row(), 1.0)
    without = {name: value for name, value in row().items() if name != "balloon.last-update"}
    one.learn_row(without, 2.0)
    one.learn_row(without, 3.5)
    assert not one.is_held(late_s=2.0), "as long as nobody could look, nothing was seen missing"
    one.learn_row(without, 4.0)
    assert one.is_held(late_s=2.0)
    one.learn_row(row(), 5.0)
    assert not one.is_held(late_s=0.0)


def test_a_total_that_follows_the_balloon_shows_that_the_guest_does_not_deflate_itself() -> None:
    for total_mib, deflates in ((270, False), (480, True)):
        one = domain()
        for second in range(1, 9):
            one.learn_row(row(300, total_mib, 200, update=second), float(second))
        assert one.as_guest("key", 9.0).deflates_itself is deflates
    shut = domain(Description(0, has_balloon=True, may_deflate=False, period_s=1, has_virtio_mem=False))
    shut.learn_row(row(update=1), 1.0)
    shut.learn_row(row(update=2), 2.0)
    assert shut.as_guest("key", 2.0).deflates_itself is False


def test_a_moving_balloon_shows_nothing_of_the_kind() -> None:
    one = domain()
    for second in range(1, 9):
        one.learn_row(row(450 - 30 * second, 230, 200, update=second), float(second))
    assert one.as_guest("key", 9.0).deflates_itself is True


def test_what_a_reading_that_was_held_up_tells_late_is_no_reset() -> None:
    """Another QEMU held it up after this one's row was made; a later reading was there first."""
    one = domain()
    for second in (1, 2, 4):
        one.learn_row(row(update=second) | {"balloon.major_fault": 100 * second}, float(second))
    one.learn_row(row(available_mib=100, update=3) | {"balloon.major_fault": 300}, 3.0)
    guest = one.as_guest("key", 5.0)
    assert (guest.available, guest.major_faults, guest.age_s) == (300 * MIB, 400, 1.0)
    assert one.known.born_at == 0.0 and guest.up_s == 5.0
    one.learn_row(row(available_mib=100, update=5) | {"balloon.major_fault": 7}, 5.0)
    guest = one.as_guest("key", 6.0)
    assert (guest.available, one.known.born_at) == (100 * MIB, 5.0), "that is one"


def test_a_reading_begun_after_a_question_may_be_older_than_its_answer() -> None:
    one = domain()
    for second in (8, 9):
        one.learn_row(row(update=second) | {"balloon.major_fault": 500}, float(second))
    answer = {"usable": 1024, "major_fault": 900, "last_update": 10}
    one.learn_answer(answer, 10.0, 10.26, is_fresh=True)
    one.learn_row(row(update=9) | {"balloon.major_fault": 500}, 10.1, 10.5)
    assert (one.known.born_at, one.as_guest("key", 11.0).major_faults) == (0.0, 900)
    without = {name: value for name, value in row().items() if not name.startswith("balloon.")}
    one.learn_row(without, 10.6, 10.9)
    one.learn_row(row(update=10) | {"balloon.major_fault": 901}, 10.5, 11.0)
    assert one.as_guest("key", 11.0).major_faults == 901, "who brings no statistics holds up none"


def test_after_a_reset_neither_old_sizes_nor_old_statistics_are_believed() -> None:
    one = domain()
    one.learn_row(row(300, update=10), 1.0)
    one.learn_row(row(300, update=11), 2.0)
    one.was_reset(3.0)
    one.learn_row(row(300, update=12), 2.9)  # asked before, answered after
    one.learn_row(row(300, update=13), 3.5)  # the last word of the old life, perhaps
    guest = one.as_guest("key", 4.0)
    assert guest.actual == guest.max and guest.available is None and guest.driver is False
    one.learn_row(row(512, update=14), 5.0)
    guest = one.as_guest("key", 5.0)
    assert guest.available == 300 * MIB and guest.driver is True


def test_after_a_reset_the_old_size_counts_only_when_the_new_driver_tells_it() -> None:
    for told_by_event, actual_mib in ((False, 512), (True, 300)):
        one = domain()
        for second in (1, 2):
            one.learn_row(row(300, update=second), float(second))
        one.was_reset(3.0)
        one.was_reset(3.1)
        if told_by_event:
            one.learn_size(300 * 1024, 4.5, is_event=True)
        for second in (5, 6, 7):
            one.learn_row(row(300, available_mib=250, update=second), float(second))
        assert one.as_guest("key", 7.0).actual == actual_mib * MIB
        one.learn_row(row(400, update=8), 8.0)
        one.learn_row(row(300, update=9), 9.0)
        assert one.as_guest("key", 9.0).actual == 300 * MIB, "it has been elsewhere meanwhile"


@pytest.mark.parametrize("seen_mib", [300, 452], ids=["seen", "seen on its way there"])
def test_an_event_that_qemu_held_back_over_a_reset_tells_of_the_life_before(seen_mib: int) -> None:
    one = domain()
    for second in (1, 2):
        one.learn_row(row(seen_mib, update=second), float(second))
    one.was_reset(3.0)
    assert not one.learn_size(300 * 1024, 3.6, is_event=True)
    for second in (5, 6, 7):
        one.learn_row(row(300, available_mib=460, update=second), float(second))
    assert one.as_guest("key", 7.0).actual == 512 * MIB
    assert one.learn_size(300 * 1024, 8.0, is_event=True)
    assert one.as_guest("key", 8.0).actual == 300 * MIB


def test_paused_by_a_migration_before_it_ever_ran_is_incoming() -> None:
    one = domain()
    one.learn_state(3, 2)
    assert one.known.incoming
    one.learn_state(1, 3)
    one.learn_state(3, 2)
    assert not one.known.incoming and not one.known.running


def test_a_reading_that_was_held_up_does_not_undo_what_an_event_told_meanwhile() -> None:
    """Another QEMU held it up after this one's row was made."""
    one = domain()
    one.learn_row(row(500), 1.0)
    one.learn_running(False, 2.0)
    one.learn_size(400 * 1024, 2.0, is_event=True)
    one.learn_row(row(500), 1.9)
    assert (one.known.running, one.known.actual) == (False, 400 * MIB)
    one.learn_row(row(450), 2.0)
    assert (one.known.running, one.known.actual) == (True, 450 * MIB), "nobody may have heard of this"


VALUES = st.one_of(st.none(), st.integers(-(2**70), 2**70), st.text(max_size=3), st.booleans())


@given(
    st.lists(
        st.dictionaries(st.sampled_from([*row(), "balloon.unused", "balloon.disk_caches"]), VALUES),
        max_size=4,
    )
)
def test_nothing_that_libvirt_could_say_goes_out_of_bounds(rows: list[dict[str, object]]) -> None:
    one = domain()
    for number, each in enumerate(rows):
        one.learn_row(row(update=number) | each, float(number))
        one.learn_answer(each, float(number), is_fresh=True)
        guest = one.as_guest("key", float(number))
        assert 0 <= guest.actual <= guest.max
        for value in (guest.available, guest.free, guest.caches):
            assert value is None or 0 <= value <= 2**63


def test_a_size_that_libvirt_has_kept_is_not_believed_over_what_qemu_said_just_now() -> None:
    one = domain()
    one.learn_row(row(511, update=10), 1.0)
    one.learn_answer({"actual": 390 * 1024}, 1.8, is_fresh=False)
    one.learn_row(row(511, update=11), 2.0)
    assert one.known.actual == 390 * MIB, "QEMU sends one event a second: libvirt has not heard of it yet"
    one.learn_row(row(420, update=13), 3.5)
    assert one.known.actual == 420 * MIB


@pytest.mark.parametrize("about", ["never", "balloon is out", "paused", "age unknown", "not asked"])
def test_a_driver_is_missing_where_a_running_guest_never_answers(about: str) -> None:
    """libvirt does not tell of it. A guest that may just not have been asked, or whose balloon moves, has one."""
    one = domain(msgspec.structs.replace(OFFERS, period_s=0 if about == "not asked" else 1))
    one.known.born_at = None if about == "age unknown" else -1000.0
    silent = row(actual_mib=300 if about == "balloon is out" else 512, update=0)
    silent["state.state"] = 3 if about == "paused" else 1
    for second in range(62):
        one.learn_row(silent, float(second))
        if second == 29:
            assert one.known.driver is None
    assert (one.known.driver is False) is (about == "never")
    one.learn_row(row(update=70), 70.0)
    one.learn_row(row(update=71), 71.0)
    assert one.as_guest("key", 71.0).driver is True
