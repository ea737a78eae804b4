"""The host's view of QEMU processes: captured ones, and one that is alive."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autoballoon.core.units import KIB, MIB
from autoballoon.host.process import ProcessReader

FIXTURES = Path(__file__).parent.parent / "fixtures" / "host" / "qemu"
RAM = 128 * MIB
ANONYMOUS, MEMFD, HUGETLBFS = 101, 102, 103


class Clock:
    """Seconds that pass only when told to, and `each` seconds at every look at it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.each = 0.0

    def __call__(self) -> float:
        self.now += self.each
        return self.now


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return shutil.copytree(FIXTURES, tmp_path / "root")


def change(root: Path, pid: int, name: str, **kib: int) -> None:
    """Set fields of a process's status (or of every mapping in its smaps), in KiB."""
    file = root / "proc" / str(pid) / name
    lines = [
        f"{field}: {kib[field]} kB" if (field := line.partition(":")[0]) in kib else line
        for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("pid", [ANONYMOUS, MEMFD, HUGETLBFS])
def test_48_mib_of_the_guest_are_resident_however_backed(pid: int) -> None:
    memory = ProcessReader(FIXTURES).read(pid, RAM)
    assert memory is not None
    assert abs(memory.resident - 48 * MIB) < 1.5 * MIB  # the fixture leaves out small mappings
    assert 62 * MIB < memory.overhead < 66 * MIB
    assert memory.swapped == 0
    assert memory.huge == (48 * MIB if pid == HUGETLBFS else 0)


def test_between_two_looks_anonymous_memory_gained_is_the_guests(root: Path) -> None:
    reader = ProcessReader(root, Clock())
    before = reader.read(ANONYMOUS, RAM)
    change(root, ANONYMOUS, "status", RssAnon=114316 + 30 * 1024)
    after = reader.read(ANONYMOUS, RAM)
    assert before is not None and after is not None
    assert after.resident - before.resident == 30 * MIB
    assert after.overhead == before.overhead


def test_what_goes_beyond_the_guests_ram_is_overhead(root: Path) -> None:
    reader = ProcessReader(root, Clock())
    before = reader.read(ANONYMOUS, RAM)
    change(root, ANONYMOUS, "status", RssAnon=114316 + 200 * 1024)
    after = reader.read(ANONYMOUS, RAM)
    assert before is not None and after is not None
    assert after.resident == RAM
    assert after.resident + after.overhead == before.resident + before.overhead + 200 * MIB


def test_anonymous_memory_beside_memfd_is_overhead_at_once(root: Path) -> None:
    reader = ProcessReader(root, Clock())
    before = reader.read(MEMFD, RAM)
    change(root, MEMFD, "status", RssAnon=65196 + 10 * 1024, RssShmem=49152 - 8 * 1024)
    after = reader.read(MEMFD, RAM)
    assert before is not None and after is not None
    assert after.overhead - before.overhead == 10 * MIB
    assert before.resident - after.resident == 8 * MIB


def test_overhead_is_a_high_water_mark(root: Path) -> None:
    reader = ProcessReader(root, Clock())
    before = reader.read(MEMFD, RAM)
    change(root, MEMFD, "status", RssAnon=1024)
    after = reader.read(MEMFD, RAM)
    assert before is not None and after is not None
    assert after.overhead == before.overhead


def test_mapped_files_never_count(root: Path) -> None:
    before = ProcessReader(root, Clock()).read(ANONYMOUS, RAM)
    change(root, ANONYMOUS, "status", RssFile=900 * 1024)
    assert ProcessReader(root, Clock()).read(ANONYMOUS, RAM) == before


def test_swap_of_anonymous_ram_follows_the_status(root: Path) -> None:
    change(root, ANONYMOUS, "status", VmSwap=3 * 1024)  # all of it QEMU's own: smaps says 0 for guest RAM
    reader = ProcessReader(root, Clock())
    first = reader.read(ANONYMOUS, RAM)
    change(root, ANONYMOUS, "status", VmSwap=20 * 1024)
    second = reader.read(ANONYMOUS, RAM)
    assert first is not None and second is not None
    assert (first.swapped, second.swapped) == (0, 17 * MIB)


def test_swap_of_memfd_comes_from_smaps(root: Path) -> None:
    smaps = root / "proc" / str(MEMFD) / "smaps"
    head, shared, tail = smaps.read_text().partition("/memfd:memory-backend-memfd")
    smaps.write_text(head + shared + tail.replace("Swap:                  0 kB", "Swap: 7168 kB", 1))
    memory = ProcessReader(root, Clock()).read(MEMFD, RAM)
    assert memory is not None and memory.swapped == 7 * MIB


def looks(root: Path, clock: Clock, step_s: float, until_s: float) -> list[float]:
    """When a reader looks into smaps, asked every `step_s`: only there does it learn the swap of a memfd."""
    reader = ProcessReader(root, clock)
    seen: list[float] = []
    swapped = 0
    while clock.now < until_s:
        change(root, MEMFD, "smaps", Swap=swapped // KIB + 4)
        memory = reader.read(MEMFD, RAM)
        assert memory is not None
        if memory.swapped > swapped:
            seen.append(clock.now)
        swapped = memory.swapped
        clock.now += step_s
    return seen


def test_smaps_is_read_often_in_a_young_process_and_once_a_minute_in_an_old_one(root: Path) -> None:
    (root / "proc/uptime").write_text("932.43 0.00\n")  # it started just now
    clock = Clock()
    seen = looks(root, clock, 1.0, 300.0)
    gaps = [round(after - before, 1) for before, after in itertools.pairwise(seen)]
    assert gaps[:4] == [2.0, 2.0, 4.0, 8.0]
    assert gaps == sorted(gaps)
    assert gaps[-2:] == [60.0, 60.0]


def test_a_costly_smaps_is_read_seldom(root: Path) -> None:
    clock = Clock()
    clock.each = 1.5  # one look at the clock before smaps is read, one after: it seems to take 1.5 s
    seen = looks(root, clock, 1.0, 700.0)
    assert seen[1] - seen[0] >= 300.0


def test_all_processes_share_what_smaps_may_cost(root: Path) -> None:
    clock = Clock()
    clock.each = 1.5
    reader = ProcessReader(root, clock)
    for pid in (ANONYMOUS, MEMFD):  # a process not seen before is looked into at once, whatever that costs
        first = reader.read(pid, RAM)
        assert first is not None
    clock.now += 400.0
    change(root, MEMFD, "smaps", Swap=4)
    second = reader.read(MEMFD, RAM)
    assert second is not None and second.swapped == 0, "two readings took a few seconds: no third for 600 s"
    clock.now += 800.0
    third = reader.read(MEMFD, RAM)
    assert third is not None and third.swapped > 0


def test_plugged_memory_is_looked_at_at_once(root: Path) -> None:
    reader = ProcessReader(root, Clock())
    first = reader.read(ANONYMOUS, RAM - 1 * MIB)  # no such sum: every RAM block counts
    second = reader.read(ANONYMOUS, RAM)
    assert first is not None and second is not None
    assert first.resident - second.resident > 2 * MIB


def test_what_seemed_overhead_before_memory_was_plugged_is_forgotten(root: Path) -> None:
    reader = ProcessReader(root, Clock())
    change(root, ANONYMOUS, "status", RssAnon=(RAM + 512 * MIB) >> 10)
    first = reader.read(ANONYMOUS, RAM)
    change(root, ANONYMOUS, "status", RssAnon=64 << 10)
    second = reader.read(ANONYMOUS, RAM + 1 * MIB)
    assert first is not None and second is not None
    assert first.overhead > 512 * MIB > second.overhead


def test_a_reused_pid_starts_anew(root: Path) -> None:
    reader = ProcessReader(root, Clock())
    old = reader.read(ANONYMOUS, RAM)
    for name in ("status", "stat", "smaps"):
        shutil.copy(root / "proc" / str(MEMFD) / name, root / "proc" / str(ANONYMOUS) / name)
    change(root, ANONYMOUS, "status", RssAnon=20 * 1024)
    new = reader.read(ANONYMOUS, RAM)
    assert old is not None and new is not None
    assert new.overhead < 21 * MIB < old.overhead


def test_without_smaps_everything_is_the_guests_up_to_its_ram(root: Path) -> None:
    (root / "proc" / str(ANONYMOUS) / "smaps").unlink()
    memory = ProcessReader(root, Clock()).read(ANONYMOUS, 100 * MIB)
    assert memory is not None
    assert memory.resident == 100 * MIB
    assert memory.overhead == 114316 * KIB - 100 * MIB + 408 * KIB


def test_a_process_that_is_gone_is_none() -> None:
    assert ProcessReader(FIXTURES).read(999, RAM) is None
    assert ProcessReader(FIXTURES).age_s(999) is None


def test_a_zombie_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert ProcessReader().read(child.pid, RAM) is None
        assert ProcessReader().identity(child.pid) is None
    finally:
        child.wait()


def test_age_counts_from_the_processs_start() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    assert ProcessReader(FIXTURES).age_s(ANONYMOUS) == 2000.0 - 93040 / ticks


def test_age_is_read_without_the_kept_files(root: Path) -> None:
    """Another thread may ask, and the event loop may close them meanwhile."""
    reader = ProcessReader(root)
    assert reader.read(ANONYMOUS, RAM) is not None
    stat = root / "proc" / str(ANONYMOUS) / "stat"
    text = stat.read_text()
    stat.unlink()
    stat.write_text(text.replace(" 93040 ", " 93140 "))
    assert reader.age_s(ANONYMOUS) == 2000.0 - 93140 / os.sysconf("SC_CLK_TCK")


def test_its_identity_is_of_this_boot_this_number_and_this_start(root: Path) -> None:
    assert ProcessReader(root).identity(ANONYMOUS) is None  # without a boot id nothing is certain
    boot = root / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("7e5bd2a4\n")
    assert ProcessReader(root).identity(ANONYMOUS) == f"7e5bd2a4/{ANONYMOUS}/93040"
    assert ProcessReader(root).identity(999) is None
    reader = ProcessReader()
    assert reader.identity(os.getpid()) == reader.identity(os.getpid()) is not None
    assert reader.identity(os.getpid()) != reader.identity(os.getppid())


def test_a_process_whose_name_has_brackets_and_blanks(root: Path) -> None:
    stat = root / "proc" / str(ANONYMOUS) / "stat"
    stat.write_text(stat.read_text().replace("(qemu-system-x86)", "((a) S 1) (b)"))
    assert ProcessReader(root).age_s(ANONYMOUS) == ProcessReader(FIXTURES).age_s(ANONYMOUS)


def test_this_very_process() -> None:
    reader = ProcessReader()
    memory = reader.read(os.getpid(), RAM)
    assert memory is not None
    assert memory.resident + memory.overhead > 1 * MIB
    age = reader.age_s(os.getpid())
    assert age is not None and 0 < age < 3600
