"""The host's view of QEMU processes: captured ones, and one that is alive."""

import asyncio
import gc
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import KIB, MIB
from autoballoon.host.apart import apart
from autoballoon.host.process import ProcessMemory, ProcessReader

FIXTURES = Path(__file__).parent.parent / "fixtures" / "host" / "qemu"
RAM = 128 * MIB
ANONYMOUS, MEMFD, HUGETLBFS = 101, 102, 103
Virtually = Callable[[Coroutine[Any, Any, None]], None]


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
    assert memory is not None and memory.overhead is not None
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
    assert before.overhead is not None and after.overhead is not None
    assert after.resident == RAM
    assert after.resident + after.overhead == before.resident + before.overhead + 200 * MIB


def test_anonymous_memory_beside_memfd_is_overhead_at_once(root: Path) -> None:
    reader = ProcessReader(root, Clock())
    before = reader.read(MEMFD, RAM)
    change(root, MEMFD, "status", RssAnon=65196 + 10 * 1024, RssShmem=49152 - 8 * 1024)
    after = reader.read(MEMFD, RAM)
    assert before is not None and after is not None
    assert before.overhead is not None and after.overhead is not None
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
    reader = ProcessReader(root, clock, worked=clock)
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
    clock.each = 1.5  # one look at it before smaps is read, one after: it seems to cost 1.5 s
    seen = looks(root, clock, 1.0, 700.0)
    assert seen[1] - seen[0] >= 300.0


def test_all_processes_share_what_smaps_may_cost(root: Path) -> None:
    clock = Clock()
    clock.each = 1.5
    reader = ProcessReader(root, clock, worked=clock)
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
    assert first.overhead is not None and second.overhead is not None
    assert first.overhead > 512 * MIB > second.overhead


def test_a_reused_pid_starts_anew(root: Path) -> None:
    reader = ProcessReader(root, Clock())
    old = reader.read(ANONYMOUS, RAM)
    for name in ("status", "stat", "smaps"):
        shutil.copy(root / "proc" / str(MEMFD) / name, root / "proc" / str(ANONYMOUS) / name)
    change(root, ANONYMOUS, "status", RssAnon=20 * 1024)
    new = reader.read(ANONYMOUS, RAM)
    assert old is not None and new is not None
    assert old.overhead is not None and new.overhead is not None
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
    assert memory is not None and memory.overhead is not None
    assert memory.resident + memory.overhead > 1 * MIB
    age = reader.age_s(os.getpid())
    assert age is not None and 0 < age < 3600


class Threads:
    """In place of apart: a call is made when it is let, in the order of asking; `held` are those that wait."""

    def __init__(self) -> None:
        self.held: list[tuple[str, asyncio.Event]] = []
        self.is_open = False

    async def __call__(self, call: Callable[..., object], *given: Any) -> object:
        if not self.is_open:
            gate = asyncio.Event()
            self.held.append((given[0].name, gate))
            await gate.wait()
        return call(*given)

    @property
    def pids(self) -> list[int]:
        return [int(name) for name, _ in self.held]

    async def let(self, which: int = 0) -> None:
        """Have one of those held do its work."""
        self.held.pop(which)[1].set()
        await asyncio.sleep(0.1)


class Apart:
    """A reader whose smaps is read apart."""

    def __init__(self, root: Path, worked: Callable[[], float] = lambda: 0.0) -> None:
        self.threads = Threads()
        self._reader = ProcessReader(root, asyncio.get_running_loop().time, self.threads, worked)

    async def read(self, pid: int, ram: int = RAM) -> ProcessMemory:
        """One reading; then what it has begun goes as far as it can."""
        memory = await self.read_if_there(pid, ram)
        assert memory is not None
        return memory

    async def read_if_there(self, pid: int, ram: int = RAM) -> ProcessMemory | None:
        memory = self._reader.read(pid, ram)
        await asyncio.sleep(0.1)
        return memory


def test_smaps_that_do_not_come_delay_no_reading(root: Path, virtually: Virtually) -> None:
    whole = ProcessReader(root, Clock()).read(ANONYMOUS, RAM)
    assert whole is not None and whole.overhead is not None

    async def story() -> None:
        reader = Apart(root)
        for _ in range(100):
            now = await reader.read(ANONYMOUS)
            assert now.overhead is None, "nobody knows yet"
            assert now.resident == 114316 * KIB, "and all that the process holds counts"
        assert reader.threads.pids == [ANONYMOUS]
        await reader.threads.let()
        assert await reader.read(ANONYMOUS) == whole
        for _ in range(600):
            assert await reader.read(ANONYMOUS) == whole
        assert reader.threads.pids == [ANONYMOUS], "as of the last time, while the next does not come"
        change(root, ANONYMOUS, "status", RssAnon=114316 + 30 * 1024)
        assert (await reader.read(ANONYMOUS)).resident == whole.resident + 30 * MIB

    virtually(story())


def test_smaps_are_read_one_after_the_other_and_one_that_hangs_keeps_nobody_long(
    root: Path, virtually: Virtually
) -> None:
    async def story() -> None:
        reader = Apart(root)
        for pid in (ANONYMOUS, MEMFD, HUGETLBFS) * 2:
            await reader.read(pid)
        assert reader.threads.pids == [ANONYMOUS]
        await asyncio.sleep(10)
        assert reader.threads.pids == [ANONYMOUS, MEMFD]
        await reader.threads.let(1)
        assert reader.threads.pids == [ANONYMOUS, HUGETLBFS], "the next begins without a further reading"
        assert (await reader.read(MEMFD)).overhead is not None
        assert (await reader.read(ANONYMOUS)).overhead is None
        await reader.threads.let(0)
        assert (await reader.read(ANONYMOUS)).overhead is not None, "late, and right all the same"

    virtually(story())


def test_a_process_that_ends_before_its_turn_is_not_looked_at(root: Path, virtually: Virtually) -> None:
    async def story() -> None:
        reader = Apart(root)
        for pid in (ANONYMOUS, MEMFD, HUGETLBFS):
            await reader.read(pid)
        (root / "proc" / str(MEMFD) / "status").write_text("State: Z (zombie)\n")
        assert await reader.read_if_there(MEMFD) is None
        await reader.threads.let()
        assert reader.threads.pids == [HUGETLBFS]

    virtually(story())


def test_so_many_that_hang_are_left_and_no_more(root: Path, virtually: Virtually) -> None:
    pids = range(201, 211)
    for pid in pids:
        shutil.copytree(root / "proc" / str(ANONYMOUS), root / "proc" / str(pid))

    async def story() -> None:
        reader = Apart(root)
        for _ in range(30):
            for pid in pids:
                await reader.read(pid)
            await asyncio.sleep(10)
        assert reader.threads.pids == [*pids][:6], "each holds a thread"
        await reader.threads.let()
        await reader.read(ANONYMOUS)
        assert len(reader.threads.pids) == 6

    virtually(story())


def test_what_comes_back_for_an_ended_process_is_not_the_next_ones(root: Path, virtually: Virtually) -> None:
    async def story() -> None:
        reader = Apart(root)
        await reader.read(ANONYMOUS)
        for name in ("status", "stat", "smaps"):
            shutil.copy(root / "proc" / str(MEMFD) / name, root / "proc" / str(ANONYMOUS) / name)
        assert (await reader.read(ANONYMOUS)).overhead is None
        await reader.threads.let()
        assert (await reader.read(ANONYMOUS)).overhead is None
        assert reader.threads.pids == [ANONYMOUS], "it has a reading of its own"
        await reader.threads.let()
        assert await reader.read(ANONYMOUS) == await reader.read(ANONYMOUS)
        assert await reader.read(ANONYMOUS) == ProcessReader(root, Clock()).read(ANONYMOUS, RAM)

    virtually(story())


def test_what_was_read_for_another_size_is_not_used(root: Path, virtually: Virtually) -> None:
    async def story() -> None:
        reader = Apart(root)
        await reader.read(ANONYMOUS, RAM - 1 * MIB)
        await reader.threads.let()
        before = await reader.read(ANONYMOUS, RAM - 1 * MIB)
        plugged = await reader.read(ANONYMOUS, RAM)
        assert plugged.overhead == before.overhead, "it is charged no less while nobody knows"
        await reader.read(ANONYMOUS, RAM + 1 * MIB)
        await reader.threads.let()  # for RAM
        assert reader.threads.held == []
        await reader.read(ANONYMOUS, RAM + 1 * MIB)
        assert reader.threads.pids == [ANONYMOUS], "it must be looked at still"
        await reader.threads.let()
        at_once = ProcessReader(root, Clock()).read(ANONYMOUS, RAM + 1 * MIB)
        assert await reader.read(ANONYMOUS, RAM + 1 * MIB) == at_once

    virtually(story())


def test_who_has_waited_longest_is_next(root: Path, virtually: Virtually) -> None:
    """There is time for one reading in 200 s, which are more than a minute: each has its turn all the same."""
    (root / "proc/uptime").write_text("99999.0 0.00\n")
    work = Clock()
    work.each = 1.0

    async def story() -> None:
        reader = Apart(root, work)
        reader.threads.is_open = True
        for pid in (ANONYMOUS, MEMFD):
            await reader.read(pid)
        reader.threads.is_open = False
        seen = []
        for _ in range(1000):
            for pid in (ANONYMOUS, MEMFD):
                await reader.read(pid)
            seen += reader.threads.pids
            for _ in reader.threads.pids:
                await reader.threads.let()
            await asyncio.sleep(1)
        assert seen == [ANONYMOUS, MEMFD, ANONYMOUS, MEMFD]
        assert (await reader.read(HUGETLBFS)).overhead is None
        assert reader.threads.pids == [HUGETLBFS], "a new one waits for none of those"

    virtually(story())


def test_waiting_for_a_lock_is_not_work(root: Path, virtually: Virtually) -> None:
    """One that hung for an hour keeps the others from nothing."""

    async def story() -> None:
        reader = Apart(root)
        for pid in (ANONYMOUS, MEMFD):
            await reader.read(pid)
        await asyncio.sleep(3600)
        await reader.threads.let(0)
        await reader.threads.let(0)
        await asyncio.sleep(61)
        await reader.read(MEMFD)
        assert reader.threads.pids == [MEMFD]

    virtually(story())


def test_without_a_thread_it_is_tried_again(root: Path, virtually: Virtually) -> None:
    async def story() -> None:
        fails, wrong = True, []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: wrong.append(context))

        async def threads(call: Callable[..., object], *given: Any) -> object:
            if fails:
                raise CouldNot("no thread could be started")
            return call(*given)

        reader = ProcessReader(root, asyncio.get_running_loop().time, threads)
        assert reader.read(ANONYMOUS, RAM) is not None
        await asyncio.sleep(0.1)
        gc.collect()
        assert not wrong, "nothing that nobody looked after"
        fails = False
        assert reader.read(ANONYMOUS, RAM) is not None
        await asyncio.sleep(0.1)
        memory = reader.read(ANONYMOUS, RAM)
        assert memory is not None and memory.overhead is not None

    virtually(story())


async def test_this_very_process_in_a_real_thread() -> None:
    reader = ProcessReader(apart=apart)
    first = reader.read(os.getpid(), RAM)
    assert first is not None and first.overhead is None
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    second = reader.read(os.getpid(), RAM)
    assert second is not None and second.overhead is not None
