"""The host reader on captured and written trees, and on this very machine."""

import shutil
from pathlib import Path

import pytest

from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.units import GIB, KIB, MIB
from autoballoon.host.memory import HostReader

FIXTURES = Path(__file__).parent.parent / "fixtures" / "host"
V2_GROUP = "cgroup:/sys/fs/cgroup/machine.slice/vms"
V1_GROUP = "cgroup:/sys/fs/cgroup/memory/host/vms"


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    return shutil.copytree(FIXTURES / "v1", tmp_path / "root")


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    """The v2 tree without ZFS."""
    root = shutil.copytree(FIXTURES / "v2", tmp_path / "root")
    shutil.rmtree(root / "proc/spl")
    return root


def set_to(path: Path, text: str | int) -> None:
    """Overwrite in place, as the kernel's files change: the reader keeps them open."""
    assert path.exists()
    path.write_text(f"{text}\n")


def test_the_machine_is_memtotal_and_memavailable(v2: Path) -> None:
    host = HostReader("auto", v2).read()
    assert host.capacity == 16384000 * KIB
    assert host.available == 6144000 * KIB


def test_swap_counts_disk_and_zswap_in_bytes(v2: Path) -> None:
    host = HostReader("auto", v2).read()
    assert (host.swap_in, host.swap_out) == (1020 * 4096, 3040 * 4096)


def test_swap_counts_zero_pages_where_the_kernel_does(v2: Path) -> None:
    set_to(v2 / "proc/vmstat", "pswpin 1\npswpout 2\nswpin_zero 10\nswpout_zero 20\nzswpin 100\nzswpout 200")
    host = HostReader("auto", v2).read()
    assert (host.swap_in, host.swap_out) == (111 * 4096, 222 * 4096)


def test_a_kernel_without_swap_tells_nothing_of_it(v2: Path) -> None:
    set_to(v2 / "proc/vmstat", "nr_free_pages 512000")
    host = HostReader("auto", v2).read()
    assert (host.swap_in, host.swap_out) == (None, None)


def test_pressure_is_the_totals_in_seconds(v2: Path) -> None:
    host = HostReader("auto", v2).read()
    assert (host.psi_some_s, host.psi_full_s) == (4.0, 1.5)


def test_without_psi_pressure_is_unknown(v2: Path) -> None:
    shutil.rmtree(v2 / "proc/pressure")
    reader = HostReader("auto", v2)
    assert reader.pressure_path() is None
    assert (reader.read().psi_some_s, reader.read().psi_full_s) == (None, None)


def test_zfs_gives_back_its_cache_above_its_minimum() -> None:
    reader = HostReader("auto", FIXTURES / "v2")
    expected = 6144000 * KIB + 2621440000 - 524288000
    assert reader.read().available == expected
    assert reader.free_now() == expected


UNMAPPED = [
    # (on the anonymous lists, mapped, shared memory, swap cache, what of it nobody maps), MiB
    (2600, 2300, 0, 360, 300),
    (2600, 2200, 100, 360, 300),
    (2600, 2000, 0, 360, 360),  # pages that were just freed by their owner are no swap cache
    (2600, 2700, 0, 360, 0),  # locked pages are mapped and on neither list
    (2600, 2300, 0, 0, 0),
]


@pytest.mark.parametrize(("listed", "mapped", "shared", "cached", "expected"), UNMAPPED)
def test_swap_cache_that_nobody_maps_is_available(
    v2: Path, listed: int, mapped: int, shared: int, cached: int, expected: int
) -> None:
    counters = {"Active(anon)": 100, "Inactive(anon)": listed - 100, "AnonPages": mapped, "Shmem": shared}
    lines = [f"{name}: {size * 1024} kB" for name, size in {**counters, "SwapCached": cached}.items()]
    set_to(v2 / "proc/meminfo", "\n".join(["MemTotal: 16384000 kB", "MemAvailable: 6144000 kB", *lines]))
    reader = HostReader("auto", v2)
    assert reader.read().available == reader.free_now() == 6144000 * KIB + expected * MIB


@pytest.mark.parametrize(("listed", "mapped", "shared", "cached", "expected"), UNMAPPED)
def test_so_it_is_in_a_group(
    v2: Path, listed: int, mapped: int, shared: int, cached: int, expected: int
) -> None:
    before = HostReader(V2_GROUP, v2).read().available
    group = v2 / "sys/fs/cgroup/machine.slice/vms"
    counters = {
        "active_anon": 100,
        "inactive_anon": listed - 100,
        "anon": mapped,
        "shmem": shared,
        "swapcached": cached,
    }
    lines = [f"{name} {size * MIB}" for name, size in counters.items()]
    set_to(group / "memory.stat", (group / "memory.stat").read_text() + "\n".join(lines))
    reader = HostReader(V2_GROUP, v2)
    assert reader.read().available == reader.free_now() == before + expected * MIB


def test_a_size_is_what_the_machine_uses_counted_against_it(v2: Path) -> None:
    used = (16384000 - 6144000) * KIB
    reader = HostReader(used + 300 * MIB, v2)
    assert reader.read().capacity == used + 300 * MIB
    assert reader.read().available == reader.free_now() == 300 * MIB


def test_a_size_that_is_used_up_has_nothing_available(v2: Path) -> None:
    reader = HostReader(1 * GIB, v2)
    assert reader.read().available == reader.free_now() == 0


def test_a_size_beyond_the_machine_is_the_machine(v2: Path) -> None:
    host = HostReader(64 * GIB, v2).read()
    assert (host.capacity, host.available) == (16384000 * KIB, 6144000 * KIB)


def test_a_v2_group_has_its_smallest_limit_and_counts_no_reclaimable_cache(v2: Path) -> None:
    reader = HostReader(V2_GROUP, v2)
    host = reader.read()
    assert host.capacity == 2600 * MIB  # memory.high, below memory.max and below the parent's
    assert host.available == (2600 - (2200 - 200 - 100 - 20)) * MIB
    assert reader.free_now() == host.available
    assert host.psi_some_s == 2.5


def test_an_ancestors_limit_binds_with_all_that_the_ancestor_holds(v2: Path) -> None:
    parent = v2 / "sys/fs/cgroup/machine.slice"
    set_to(parent / "memory.max", 3000 * MIB)
    host = HostReader(V2_GROUP, v2).read()
    assert host.capacity == 2600 * MIB
    assert host.available == (3000 - (3300 - 300 - 100 - 40)) * MIB


def test_the_smaller_limit_of_an_ancestor_is_the_capacity(v2: Path) -> None:
    set_to(v2 / "sys/fs/cgroup/machine.slice/memory.high", 2000 * MIB)
    assert HostReader(V2_GROUP, v2).read().capacity == 2000 * MIB


def test_free_now_follows_usage_and_keeps_the_cache_of_the_last_reading(v2: Path) -> None:
    reader = HostReader(V2_GROUP, v2)
    before = reader.read().available
    set_to(v2 / "sys/fs/cgroup/machine.slice/vms/memory.current", (2200 + 150) * MIB)
    set_to(v2 / "sys/fs/cgroup/machine.slice/vms/memory.stat", "active_file 0\ninactive_file 0")
    assert reader.free_now() == before - 150 * MIB
    assert reader.read().available == (2600 - 2350) * MIB


def test_a_limit_changed_while_running_counts_at_the_next_reading(v2: Path) -> None:
    reader = HostReader(V2_GROUP, v2)
    set_to(v2 / "sys/fs/cgroup/machine.slice/vms/memory.high", 2500 * MIB)
    assert reader.read().capacity == 2500 * MIB


def test_a_group_has_no_more_than_the_machine_has_left(v2: Path) -> None:
    set_to(v2 / "proc/meminfo", "MemTotal: 16384000 kB\nMemFree: 1024 kB\nMemAvailable: 102400 kB")
    reader = HostReader(V2_GROUP, v2)
    assert reader.read().available == reader.free_now() == 100 * MIB


def test_a_group_that_loses_its_limit_counts_as_the_machine(v2: Path) -> None:
    reader = HostReader(V2_GROUP, v2)
    for group in ("machine.slice", "machine.slice/vms"):
        for limit in ("memory.high", "memory.max"):
            set_to(v2 / "sys/fs/cgroup" / group / limit, "max")
    host = reader.read()
    assert (host.capacity, host.available) == (16384000 * KIB, 6144000 * KIB)
    assert reader.free_now() == host.available


def test_a_v1_group_is_limited_by_its_ancestor(v1: Path) -> None:
    reader = HostReader(V1_GROUP, v1)
    host = reader.read()
    assert host.capacity == 64 * MIB
    ancestor = v1 / "sys/fs/cgroup/memory/host"
    stat = dict(line.split() for line in (ancestor / "memory.stat").read_text().splitlines())
    cache = int(stat["total_active_file"]) + int(stat["total_inactive_file"])
    listed = int(stat["total_active_anon"]) + int(stat["total_inactive_anon"])
    unmapped = listed - int(stat["total_rss"]) - int(stat["total_shmem"])
    assert 0 < unmapped < int(stat["total_swapcached"]), "the tree was captured while its guests swapped"
    usage = int((ancestor / "memory.usage_in_bytes").read_text())
    assert host.available == 64 * MIB - (usage - cache - unmapped)
    assert reader.free_now() == host.available
    assert host.swap_in is not None and host.swap_in > 0


def test_a_v1_groups_pressure_is_of_the_same_name_in_the_cgroup2_tree(v1: Path) -> None:
    reader = HostReader(V1_GROUP, v1)
    assert reader.pressure_path() == v1 / "sys/fs/cgroup/unified/host/vms/memory.pressure"
    assert reader.read().psi_some_s == 0.359844


def test_a_v1_group_without_one_in_the_cgroup2_tree_has_the_machines_pressure(v1: Path) -> None:
    shutil.rmtree(v1 / "sys/fs/cgroup/unified/host")
    assert HostReader(V1_GROUP, v1).pressure_path() == v1 / "proc/pressure/memory"


def test_a_removed_group_is_told_in_one_sentence(v2: Path) -> None:
    reader = HostReader(V2_GROUP, v2)
    shutil.rmtree(v2 / "sys/fs/cgroup/machine.slice")
    with pytest.raises(CouldNot, match=r"machine\.slice/vms is gone"):
        reader.read()


def test_a_group_made_again_is_found_again(v2: Path) -> None:
    reader = HostReader(V2_GROUP, v2)
    shutil.move(v2 / "sys", v2 / "old")
    with pytest.raises(CouldNot):
        reader.read()
    shutil.copytree(v2 / "old", v2 / "sys")
    assert reader.read().capacity == 2600 * MIB


@pytest.mark.parametrize(
    ("capacity", "says"),
    [
        ("half", "'half' is not known"),
        (0, "0 bytes"),
        ("cgroup:machine.slice", "not a full path"),
        ("cgroup:/sys/fs/cgroup", "/sys/fs/cgroup is no memory control group"),
    ],
)
def test_a_capacity_that_cannot_be_used_is_refused(v2: Path, capacity: str | int, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        HostReader(capacity, v2)


def test_a_group_that_is_not_there_may_come(v2: Path) -> None:
    """systemd makes a slice when something starts in it: the daemon is to be started again until then."""
    with pytest.raises(CouldNot, match="there is no control group /sys/fs/cgroup/no-such; make it"):
        HostReader("cgroup:/sys/fs/cgroup/no-such", v2)


def test_a_group_without_a_limit_is_refused(v1: Path) -> None:
    with pytest.raises(BadInput, match=r"/sys/fs/cgroup/memory .* memory.limit_in_bytes"):
        HostReader("cgroup:/sys/fs/cgroup/memory", v1)


def test_no_proc_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CouldNot, match="meminfo cannot be read"):
        HostReader("auto", tmp_path)


def test_this_very_machine() -> None:
    reader = HostReader("auto")
    host = reader.read()
    assert 0 < host.available <= host.capacity
    assert 0 < reader.free_now() <= host.capacity
    assert host.swap_in is None or host.swap_in >= 0
    reader.close()
