"""When a reading counts as taken, and what a reset makes void."""

from typing import Any

from autoballoon.core.units import MIB
from autoballoon.guests.qmp_guest import Known


def stats(available_mib: int, last_update: int, minor_faults: int = 500) -> dict[str, Any]:
    return {
        "last-update": last_update,
        "stats": {
            "stat-total-memory": 500 * MIB,
            "stat-available-memory": available_mib * MIB,
            "stat-minor-faults": minor_faults,
        },
    }


def known() -> Known:
    return Known(name="one", pid=1, max=512 * MIB, actual=512 * MIB, driver=True)


def age_at(guest: Known, now: float) -> float | None:
    return guest.as_guest("key", now).age_s


def test_the_first_answer_is_of_unknown_age_until_it_changes() -> None:
    guest = known()
    guest.learn_stats(stats(300, 10), 1.0)
    assert age_at(guest, 1.0) is None
    guest.learn_stats(stats(300, 10), 2.0)
    assert age_at(guest, 2.0) is None
    guest.learn_stats(stats(300, 11), 3.0)
    assert age_at(guest, 3.5) == 0.5


def test_an_answer_that_was_asked_for_counts_from_the_asking_even_when_it_is_the_same() -> None:
    guest = known()
    guest.learn_stats(stats(300, 10), 1.0, is_fresh=True)
    assert age_at(guest, 1.5) == 0.5
    guest.learn_stats(stats(300, 10), 2.0, is_fresh=True)
    assert age_at(guest, 2.5) == 0.5


def test_an_answer_served_again_ages() -> None:
    guest = known()
    guest.learn_stats(stats(300, 10), 1.0, is_fresh=True)
    guest.learn_stats(stats(300, 10), 9.0)
    assert age_at(guest, 9.0) == 8.0


def test_a_reading_that_may_be_older_than_our_move_counts_as_older() -> None:
    guest = known()
    guest.learn_stats(stats(300, 10), 1.0, is_fresh=True)
    guest.moved_at = 1.5
    guest.learn_stats(stats(250, 11), 2.0)  # taken between 1.0 and 2.0: perhaps before the move
    assert age_at(guest, 2.0) == 1.0
    guest.learn_stats(stats(120, 12), 3.0)
    assert age_at(guest, 3.0) == 0.0


def test_a_lie_leaves_the_last_good_reading_to_age() -> None:
    guest = known()
    guest.learn_stats(stats(300, 10), 1.0, is_fresh=True)
    guest.learn_stats(stats(900, 11), 2.0, is_fresh=True)
    assert (guest.dropped, age_at(guest, 2.0)) == (1, 1.0)
    assert guest.nonsense is not None
    guest.learn_stats(stats(200, 12), 3.0)
    assert guest.nonsense is None and age_at(guest, 3.0) == 0.0


def test_after_a_reset_what_qemu_still_serves_is_void() -> None:
    guest = known()
    guest.learn_stats(stats(300, 10), 1.0, is_fresh=True)
    guest.learn_actual(300 * MIB)
    guest.was_reset(2.0)
    assert guest.as_guest("key", 2.5).up_s == 0.5
    assert (guest.actual, guest.driver, age_at(guest, 2.0)) == (512 * MIB, False, None)
    guest.learn_stats(stats(290, 11), 2.1)  # the last one of the time before, not seen until now
    guest.learn_stats(stats(290, 11), 3.0)
    assert age_at(guest, 3.0) is None
    guest.learn_stats(stats(450, 14, minor_faults=100), 5.0)
    assert age_at(guest, 5.0) == 0.0


def test_after_a_reset_the_size_of_before_counts_only_when_an_event_tells_it() -> None:
    guest = known()
    guest.learn_actual(300 * MIB)
    guest.was_reset(2.0)
    assert not guest.learn_actual(300 * MIB) and guest.actual == guest.max
    assert guest.learn_actual(300 * MIB, is_event=True) and guest.actual == 300 * MIB
    guest.was_reset(3.0)
    assert guest.learn_actual(400 * MIB) and guest.learn_actual(300 * MIB), "it has been elsewhere meanwhile"


def test_a_reset_that_was_missed_shows_in_the_counters() -> None:
    guest = known()
    guest.born_at = 0.0
    guest.learn_stats(stats(300, 10), 50.0, is_fresh=True)
    guest.learn_stats(stats(450, 99, minor_faults=100), 90.0)
    assert guest.as_guest("key", 91.0).up_s == 1.0


def test_the_balloon_is_never_larger_than_the_guest() -> None:
    guest = known()
    assert guest.learn_actual(300 * MIB) and guest.actual == 300 * MIB
    assert not guest.learn_actual(300 * MIB)
    assert guest.learn_actual(2**63) and guest.actual == guest.max
    for nonsense in (-1, None, True, "300", 3.5):
        assert not guest.learn_actual(nonsense) and guest.actual == guest.max


def test_an_incoming_guest_is_told_from_one_that_is_stopped() -> None:
    guest = known()
    for status, running, incoming in (
        ("inmigrate", False, True),
        ("paused", False, False),
        ("running", True, False),
    ):
        guest.learn_status({"status": status, "running": running})
        assert (guest.running, guest.incoming) == (running, incoming)
    guest.learn_status(["nonsense"])
    assert guest.running


def test_a_guest_that_is_being_migrated_is_told_from_one_that_stays() -> None:
    guest = known()
    told = (("setup", True), ("active", True), ("cancelling", True), ("cancelled", False), ("postcopy-active", True),
            ("completed", False), ("device", True), ("failed", False), ("none", False))  # fmt: skip
    for status, migrating in told:
        guest.learn_migration({"status": status})
        assert guest.as_guest("key", 1.0).migrating is migrating, status
    guest.learn_migration({"status": "active"})
    for nonsense in (None, ["active"], "none", 3):
        guest.learn_migration(nonsense)
        assert guest.migrating
    guest.learn_migration({})  # no migration has been begun since QEMU started
    assert not guest.migrating


def test_a_guest_that_lost_memory_is_no_larger_than_what_it_has_left() -> None:
    """QEMU tells of its size in another answer, which comes later."""
    guest = known()
    guest.learn_max(384 * MIB)
    assert (guest.max, guest.actual) == (384 * MIB, 384 * MIB)
    guest.learn_max(512 * MIB)
    assert (guest.max, guest.actual) == (512 * MIB, 384 * MIB)
