"""What is easily counted twice or not at all: tmpfs, pools of huge pages, zswap, merged pages.

Each test puts one captured QEMU, 48 MiB of its 128 MiB touched, on a written host, and asks the engine's books.
"""

import re
import shutil
from pathlib import Path

import pytest

from autoballoon.core.health import observe
from autoballoon.core.model import Guest, Snapshot
from autoballoon.core.pool import Account, account_of
from autoballoon.core.units import GIB, KIB, MIB, Portion
from autoballoon.host.memory import HostReader
from autoballoon.host.process import ProcessReader

FIXTURES = Path(__file__).parent.parent / "fixtures" / "host"
RAM = 128 * MIB
ANONYMOUS, MEMFD, HUGETLBFS = 101, 102, 103
GROUP = "cgroup:/sys/fs/cgroup/machine.slice/vms"
TOLERANCE = 2 * MIB
"""The captured smaps leave out small mappings."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The written host without ZFS, and the captured processes on it."""
    root = shutil.copytree(FIXTURES / "v2", tmp_path / "root")
    shutil.rmtree(root / "proc/spl")
    shutil.copytree(FIXTURES / "qemu", root, dirs_exist_ok=True)
    return root


def used_up(root: Path, size: int, more: str = "") -> None:
    """Take `size` bytes off what is free and available, as the kernel does for all that is no clean cache."""
    file = root / "proc/meminfo"
    text = file.read_text()
    for field in ("MemFree", "MemAvailable"):
        found = re.search(rf"{field}:\s+(\d+)", text)
        assert found is not None
        text = text.replace(found[0], f"{field}: {int(found[1]) - size // KIB}")
    file.write_text(text + more)


def books(root: Path, *pids: int, capacity: str = "auto") -> Account:
    """The books with these processes as guests."""
    reader = ProcessReader(root)
    guests = []
    for pid in pids:
        held = reader.read(pid, RAM)
        assert held is not None
        guests.append(
            Guest(
                key=str(pid),
                name=str(pid),
                max=RAM,
                actual=RAM,
                pid=pid,
                resident=held.resident,
                huge=held.huge,
                overhead=held.overhead,
            )
        )
    host = HostReader(capacity, root)
    snapshot = Snapshot(host.read(), tuple(guests))
    host.close()
    return account_of(snapshot, {g.key: observe(None, g, 0.0) for g in guests}, Portion(amount=0))


def test_what_a_guest_holds_is_no_use_of_others(root: Path) -> None:
    alone = books(root)
    assert abs(books(root, ANONYMOUS).other - (alone.other - 48 * MIB - 64 * MIB)) < 2 * TOLERANCE


def test_tmpfs_is_others_though_the_kernel_lists_it_as_cached(root: Path) -> None:
    before = books(root, ANONYMOUS)
    used_up(root, GIB, "Shmem: 1048576 kB\n")
    assert books(root, ANONYMOUS).pool == before.pool - GIB


def test_a_pool_of_huge_pages_is_not_for_guests_that_are_not_backed_by_it(root: Path) -> None:
    before = books(root, ANONYMOUS)
    used_up(root, GIB, "HugePages_Total: 512\nHugePages_Free: 512\n")
    assert books(root, ANONYMOUS).pool == before.pool - GIB


def test_of_a_pool_of_huge_pages_a_guest_that_is_backed_by_it_has_its_part(root: Path) -> None:
    before = books(root)
    used_up(root, GIB, "HugePages_Total: 512\nHugePages_Free: 488\n")
    unbacked, backed = books(root), books(root, HUGETLBFS)
    assert unbacked.pool == before.pool - GIB
    assert abs(backed.pool - (unbacked.pool + 48 * MIB + 64 * MIB)) < 2 * TOLERANCE


def is_charged(root: Path, size: int) -> None:
    """The group, and its slice with it, holds so much that only swapping would give back."""
    for name in ("machine.slice", "machine.slice/vms"):
        folder = root / "sys/fs/cgroup" / name
        (folder / "memory.current").write_text(f"{size}\n")
        (folder / "memory.stat").write_text("active_file 0\ninactive_file 0\n")


def test_a_group_does_not_hold_the_huge_pages_of_its_guests(root: Path) -> None:
    """They have a controller of their own: of what is charged to the group only QEMU's overhead is the guest's."""
    is_charged(root, 364 * MIB)
    account = books(root, HUGETLBFS, capacity=GROUP)
    assert abs(account.other - 300 * MIB) < 2 * TOLERANCE
    assert abs(account.pool - (account.capacity - 300 * MIB + 48 * MIB)) < 2 * TOLERANCE


def test_huge_pages_take_nothing_from_a_group_that_holds_little_else(root: Path) -> None:
    """What the guest is charged of them does not make the room smaller for others."""
    is_charged(root, 64 * MIB)
    account = books(root, HUGETLBFS, capacity=GROUP)
    untouched = 80 * MIB
    assert abs(account.room - (account.available - untouched)) < 2 * TOLERANCE


def test_a_group_of_a_tree_that_counts_huge_pages_holds_them(root: Path) -> None:
    mounts = root / "proc/self/mounts"
    mounts.write_text(mounts.read_text().replace("nsdelegate", "nsdelegate,memory_hugetlb_accounting"))
    is_charged(root, (364 + 48) * MIB)
    account = books(root, HUGETLBFS, capacity=GROUP)
    assert abs(account.other - 300 * MIB) < 2 * TOLERANCE
    assert account.pool == account.capacity - account.other


def test_a_guest_in_memfd_is_counted_once(root: Path) -> None:
    """Its memory is shared memory to the kernel: no available memory, and the guest's."""
    used_up(root, 48 * MIB, "Shmem: 49152 kB\n")
    assert abs(books(root, MEMFD).other - (books(root).other - 48 * MIB - 64 * MIB)) < 2 * TOLERANCE


def test_what_zswap_holds_is_used(root: Path) -> None:
    before = books(root, ANONYMOUS)
    used_up(root, 300 * MIB, "Zswap: 307200 kB\nZswapped: 921600 kB\n")
    assert books(root, ANONYMOUS).pool == before.pool - 300 * MIB


def test_merged_pages_of_several_guests_are_counted_once(root: Path) -> None:
    """Three guests of which KSM has merged all but 16 MiB: together they hold 48 MiB, as the kernel counts it."""
    pids = (201, 202, 203)
    for pid in pids:
        folder = shutil.copytree(root / f"proc/{ANONYMOUS}", root / f"proc/{pid}")
        smaps = (folder / "smaps").read_text()
        # The mapping that is guest RAM is the one of its size.
        before, header, rest = smaps.partition(f"Size:             {RAM // KIB} kB")
        assert header
        (folder / "smaps").write_text(
            before + header + re.sub(r"Pss:\s+\d+ kB", "Pss: 16384 kB", rest, count=1)
        )
    account = books(root, *pids)
    unmerged = books(root)
    assert abs(unmerged.other - account.other - 3 * (16 + 64) * MIB) < 4 * TOLERANCE
