"""The kernel's own alarms, from groups that are really short of memory; no guest is needed."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import MIB
from autoballoon.host.groupevents import EventsTrigger
from autoballoon.host.memory import HostReader
from autoballoon.host.vmpressure import LevelTrigger
from autoballoon.lab.group import Group

pytestmark = pytest.mark.lab

UNIFIED = Path("/sys/fs/cgroup/unified")


@pytest.fixture
def group() -> Iterator[Group]:
    group = Group("autoballoon-test-alarms")
    try:
        group.make()
    except CouldNot as trouble:
        pytest.skip(str(trouble))
    yield group
    group.remove()


def inside(group: Group, code: str) -> "subprocess.Popen[bytes]":
    """A process of the group that runs `code`."""
    enter = "".join(f"open({str(procs)!r}, 'w').write('0')\n" for procs in group.procs)
    return subprocess.Popen([sys.executable, "-c", enter + code])


async def until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - what is waited for is the kernel's
            await asyncio.sleep(0.01)


async def test_cgroup_v1_tells_low_when_cache_goes_and_critical_when_nothing_is_left(
    group: Group, tmp_path: Path
) -> None:
    if group.version != 1:
        pytest.skip("the memory controller is cgroup v2's here: it has no memory.pressure_level")
    group.limit(48 * MIB)
    reader = HostReader(f"cgroup:{group.path}")
    assert reader.limited_groups() == ([group.path], 1)
    reader.close()
    heard: list[str] = []
    trigger = LevelTrigger(group.path, heard.append)
    trigger.start()
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(300 * MIB)
    reads = inside(group, f"file = open({str(big)!r}, 'rb')\nwhile file.read(1 << 20): pass")
    assert await asyncio.to_thread(reads.wait, 60) == 0
    await asyncio.sleep(0.1)
    assert heard
    assert set(heard) == {"low"}
    takes = inside(group, "held = bytearray(200 << 20)")  # more than there is: it waits
    try:
        await until(lambda: "critical" in heard)
    finally:
        takes.kill()
        takes.wait()
    trigger.close()


async def test_a_group_that_is_removed_is_noticed(group: Group) -> None:
    if group.version != 1:
        pytest.skip("the memory controller is cgroup v2's here: it has no memory.pressure_level")
    trigger = LevelTrigger(group.path, lambda level: None)
    trigger.start()
    group.remove()
    await until(lambda: not trigger.watching)


async def test_a_file_of_events_is_seen_to_change_and_to_go(group: Group) -> None:
    """With cgroup.events, which every cgroup2 tree has, for its memory.events, which this machine's may lack: both are
    files of one kind to the kernel."""
    folder = UNIFIED / group.path.name if group.version == 1 else group.path
    if not (folder / "cgroup.events").exists():
        pytest.skip("no cgroup2 tree is mounted")
    heard: list[str] = []
    trigger = EventsTrigger(folder / "cgroup.events", heard.append, (b"populated",))
    trigger.start()
    await asyncio.sleep(0.05)
    assert heard == []
    process = inside(group, "import time; time.sleep(60)")
    try:
        await until(lambda: heard)
    finally:
        process.kill()
        process.wait()
    assert heard == ["populated"]
    group.remove()
    await until(lambda: not trigger.watching)


def test_of_a_group_tmpfs_is_used_and_cache_is_not(group: Group, tmp_path: Path) -> None:
    group.limit(256 * MIB)
    reader = HostReader(f"cgroup:{group.path}")
    before = reader.read().available
    big, shm = tmp_path / "big", Path("/dev/shm/autoballoon-test-counted")
    with big.open("wb") as file:
        file.truncate(64 * MIB)
    assert inside(group, f"open({str(big)!r}, 'rb').read()").wait() == 0
    assert before - reader.read().available < 8 * MIB
    try:
        assert inside(group, f"open({str(shm)!r}, 'wb').write(bytes(64 << 20))").wait() == 0
        assert abs(before - reader.read().available - 64 * MIB) < 8 * MIB
    finally:
        shm.unlink(missing_ok=True)
    reader.close()
