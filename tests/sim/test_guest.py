"""What missing memory does to a guest and costs it, worked out by hand."""

import pytest

from autoballoon.core.units import GIB, MIB
from autoballoon.sim.body import KEPT_CACHE
from autoballoon.sim.guest import BUSY, OOM_AFTER_S, OOM_RATE, RESTART_S
from tests.sim.worlds import live, living


def test_a_balloon_moves_at_its_rate() -> None:
    guest = living(max="1GiB", inflate="200MiB", deflate="400MiB")
    guest.order(800 * MIB)
    live(guest, 0.5)
    assert guest.actual == pytest.approx(924 * MIB)
    now = live(guest, 2.0, begin=0.5)
    assert guest.actual == 800 * MIB
    guest.order(1000 * MIB)
    live(guest, 0.25, begin=now)
    assert guest.actual == pytest.approx(900 * MIB)


def test_a_balloon_takes_no_memory_in_use() -> None:
    guest = living(need="300MiB", kernel="50MiB")
    guest.order(100 * MIB)
    live(guest, 5.0)
    assert guest.actual == pytest.approx(350 * MIB + KEPT_CACHE)
    assert guest.anon == 300 * MIB


def test_with_swap_of_its_own_it_does() -> None:
    guest = living(need="300MiB", kernel="50MiB", swap="1GiB", disk="100MiB")
    guest.order(250 * MIB)
    live(guest, 30.0)
    assert guest.actual == 250 * MIB
    assert guest.own_swap == pytest.approx(102 * MIB, rel=0.01)
    assert guest.swap_in > 0
    assert guest.starves


def test_half_speed_when_200_mib_are_missing_from_a_disk_of_200_mib_a_second() -> None:
    guest = living(
        need="500MiB", kernel="50MiB", size="352MiB", swap="1GiB", disk="200MiB", deflates_itself=False
    )
    now = live(guest, 20.0)
    before = guest.work_s
    live(guest, 10.0, begin=now)
    assert guest.own_swap == pytest.approx(200 * MIB, rel=0.01)
    assert guest.work_s - before == pytest.approx(5.0, rel=0.02)
    assert guest.work_s + guest.lost_s == pytest.approx(30.0)


def test_a_guest_that_passes_over_its_memory_less_often_loses_less() -> None:
    lost = []
    for seconds in ("500ms", "1s", "10s"):
        guest = living(need="500MiB", size="400MiB", swap="1GiB", deflates_itself=False, **{"pass": seconds})
        live(guest, 20.0)
        lost.append(guest.lost_s)
    assert lost[0] > lost[1] > lost[2] > 0


def test_cold_cache_goes_first_then_warm() -> None:
    guest = living(need="100MiB", kernel="50MiB", files="500MiB", warm="200MiB", inflate="4GiB")
    assert (guest.cache.warm, guest.cache.cold) == (200 * MIB, 300 * MIB)
    guest.order(400 * MIB)
    live(guest, 1.0)
    assert guest.cache.warm == 200 * MIB
    assert guest.cache.cold == pytest.approx(50 * MIB)
    assert guest.lost_s < 0.5  # the balloon's own work
    lost = guest.lost_s
    guest.order(250 * MIB)
    live(guest, 5.0, begin=1.0)
    assert guest.cache.cold == 0
    assert guest.cache.warm == pytest.approx(100 * MIB, abs=MIB)
    assert guest.lost_s > lost + 0.3


def test_missing_warm_files_are_read_again_when_there_is_room() -> None:
    guest = living(need="100MiB", kernel="50MiB", size="200MiB", files="200MiB", warm="200MiB")
    live(guest, 5.0)
    assert guest.cache.warm < 60 * MIB
    guest.order(GIB)
    live(guest, 60.0, begin=5.0)
    assert guest.cache.warm > 195 * MIB
    assert guest.faults > 100 * MIB


def test_it_takes_memory_back_by_itself_and_then_waits_for_an_order() -> None:
    guest = living(need='[["1s", "100MiB"], ["1s", "400MiB"]]', kernel="50MiB", size="200MiB")
    live(guest, 1.0)
    now = live(guest, 0.5, begin=1.0)
    assert 0 < guest.actual - 200 * MIB <= OOM_RATE * 0.6
    now = live(guest, 5.0, begin=now)
    size = guest.actual
    assert size == pytest.approx(452 * MIB, abs=4 * MIB)
    assert guest.oom_kills == 0
    live(guest, 5.0, begin=now)
    assert guest.actual == size  # although its target is 200 MiB
    guest.order(300 * MIB)
    live(guest, 5.0, begin=now + 5.0)
    assert guest.actual == pytest.approx(size, abs=8192)  # in use


def test_without_any_way_out_something_is_killed_and_starts_again() -> None:
    guest = living(need="400MiB", kernel="50MiB", size="200MiB", deflates_itself=False)
    now = live(guest, OOM_AFTER_S - 0.2)
    assert guest.oom_kills == 0
    now = live(guest, 1.0, begin=now)
    assert guest.oom_kills == 1
    assert guest.anon == 0
    before = guest.work_s
    live(guest, RESTART_S - 2.0, begin=now)
    assert guest.work_s - before < 0.01


def test_a_moving_balloon_keeps_a_processor_busy() -> None:
    lost = []
    for cpus in (1, 4):
        guest = living(cpus=cpus, max="1GiB")
        guest.order(GIB - 819 * MIB)
        live(guest, 5.0)
        lost.append(guest.lost_s)
    assert lost[0] == pytest.approx(BUSY, rel=0.1)
    assert lost[1] == pytest.approx(lost[0] / 4, rel=0.1)


def test_it_boots_and_only_then_has_a_driver_and_later_programs() -> None:
    guest = living(starts="2s", boot="3s", programs="2s", need="100MiB")
    assert not guest.there
    guest.there = True
    guest.order(500 * MIB)
    live(guest, 2.9, begin=2.0)
    assert not guest.driver
    assert guest.actual == GIB
    now = live(guest, 1.0, begin=4.9)
    assert guest.driver
    assert guest.actual < GIB
    assert guest.want == 0
    live(guest, 2.0, begin=now)
    assert guest.want == 100 * MIB


def test_a_reset_empties_it_and_keeps_what_it_swapped_in_mind() -> None:
    guest = living(need="300MiB", size="250MiB", swap="1GiB", deflates_itself=False)
    live(guest, 5.0)
    swapped = guest.swapped_in_all
    assert swapped > 0
    guest.reset(5.0)
    assert (guest.actual, guest.anon, guest.pages.touched, guest.swap_in) == (GIB, 0, 0, 0)
    assert guest.swapped_in_all == swapped
    assert not guest.driver


def test_the_driver_of_its_next_life_goes_for_the_target_of_before_which_qemu_keeps() -> None:
    guest = living(need="100MiB", boot="4s")
    guest.order(600 * MIB)
    live(guest, 5.0)
    guest.reset(5.0)
    now = live(guest, 3.9, begin=5.0)
    assert guest.actual == GIB
    live(guest, 1.0, begin=now)
    assert guest.actual == 600 * MIB


@pytest.mark.parametrize(("itself", "total"), [(True, 1024), (False, 600)])
def test_statistics_in_both_ways_of_accounting(itself: bool, total: int) -> None:
    guest = living(need="100MiB", kernel="40MiB", size="600MiB", files="300MiB", deflates_itself=itself)
    report = guest.report()
    assert report.total == (total - 20) * MIB
    assert report.free == pytest.approx(160 * MIB)
    assert report.caches == 300 * MIB
    assert report.available is not None
    assert 450 * MIB < report.available < 460 * MIB


def test_tmpfs_shows_among_the_caches_and_is_not_available() -> None:
    guest = living(need="300MiB", tmpfs="200MiB", files="100MiB", kernel="40MiB")
    report = guest.report()
    assert report.caches == 300 * MIB
    assert report.available is not None
    assert report.available < 700 * MIB


def test_asleep_it_touches_nothing_and_loses_nothing() -> None:
    guest = living(need="300MiB", rests_below="400MiB", size="250MiB", swap="1GiB", deflates_itself=False)
    live(guest, 10.0)
    assert guest.lost_s == pytest.approx(0.0)
    assert guest.swap_in == 0


def test_free_page_reporting_gives_the_host_back_what_is_freed() -> None:
    held = []
    for reporting in (False, True):
        guest = living(need='[["1s", "500MiB"], ["2s", "100MiB"]]', kernel="40MiB", reporting=reporting)
        live(guest, 5.0)
        held.append(guest.resident)
    assert held == [pytest.approx(540 * MIB), pytest.approx(140 * MIB)]


def test_a_kernel_that_hoards_files_swaps_programs_out_for_them() -> None:
    guest = living(
        need="500MiB",
        kernel="50MiB",
        files="400MiB",
        hoards="300MiB",
        swap="1GiB",
        disk="500MiB",
        inflate="4GiB",
    )
    guest.order(700 * MIB)
    live(guest, 10.0)
    assert guest.actual == 700 * MIB
    assert guest.cache.size == pytest.approx(300 * MIB, rel=0.02)
    assert guest.own_swap == pytest.approx(150 * MIB, rel=0.05)
    assert (guest.report().available or 0) > 250 * MIB
    assert guest.swap_in > 0


@pytest.mark.parametrize("maps", [True, False])
def test_only_mapped_files_show_faults_when_they_are_read_again(maps: bool) -> None:
    guest = living(need="100MiB", files="600MiB", warm="600MiB", size="500MiB", maps=maps)
    live(guest, 10.0)
    assert guest.progress < 1.0
    assert (guest.faults > 0) is maps
