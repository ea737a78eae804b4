"""Pressure in a cgroup v2 group that swaps: triggers that really fire, counters that really count."""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autoballoon.core.units import MIB
from autoballoon.daemon.alarms import alarms_of
from autoballoon.host.groupevents import EventsTrigger
from autoballoon.host.memory import HostReader
from autoballoon.host.pressure import PressureTrigger
from autoballoon.lab.group import Group
from autoballoon.lab.instruments import SwapCounters

MACHINE = Path("/proc/pressure/memory")
THRASH = """
import mmap, sys
from pathlib import Path
Path(sys.argv[1]).write_text("0")
memory = mmap.mmap(-1, 100 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
while True:
    for at in range(0, 100 << 20, 4096):
        memory[at] = 1
"""
"""Passes over 100 MiB again and again, in a group that may hold less."""


@pytest.fixture
def thrashing(group: Group, swap: Path) -> Group:
    """The group, limited to 48 MiB."""
    group.limit(48 * MIB)
    return group


async def test_triggers_of_the_group_and_of_the_machine_fire(thrashing: Group) -> None:
    fired: dict[str, int] = {"group": 0, "machine": 0}
    happened = asyncio.Event()

    def note(name: str) -> None:
        fired[name] += 1
        if all(fired.values()):
            happened.set()

    assert thrashing.pressure is not None
    triggers = [
        PressureTrigger(thrashing.pressure, 0.1, 1.0, lambda: note("group")),
        PressureTrigger(MACHINE, 0.1, 1.0, lambda: note("machine")),
    ]
    for trigger in triggers:
        trigger.start()
    await asyncio.sleep(1.5)
    assert fired == {"group": 0, "machine": 0}  # nobody waits for memory yet
    reader = HostReader(f"cgroup:{thrashing.path}")
    before, swapped, maxed = reader.read(), SwapCounters.read(), _events(thrashing)["max"]
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", THRASH, str(thrashing.procs[0]))
    try:
        async with asyncio.timeout(30):
            await happened.wait()
        after = reader.read()
    finally:
        process.kill()
        await process.wait()
    assert after.psi_some_s is not None and before.psi_some_s is not None
    assert after.psi_some_s - before.psi_some_s > 0.1
    assert SwapCounters.read().since(swapped).out_pages > 100
    assert after.swap_out is not None and before.swap_out is not None
    assert after.swap_out > before.swap_out
    assert _events(thrashing)["max"] > maxed
    for trigger in triggers:
        trigger.close()
    reader.close()


async def test_a_trigger_ends_with_its_group(group: Group) -> None:
    assert group.pressure is not None
    told = asyncio.Event()
    trigger = PressureTrigger(group.pressure, 0.1, 1.0, told.set)
    trigger.start()
    group.remove()
    async with asyncio.timeout(5):
        await told.wait()
    assert not trigger.watching


async def test_a_group_that_runs_into_its_limits_is_told(thrashing: Group) -> None:
    rose: list[str] = []
    trigger = EventsTrigger(thrashing.path / "memory.events", rose.append)
    trigger.start()
    await asyncio.sleep(0.5)
    assert rose == []
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", THRASH, str(thrashing.procs[0]))
    try:
        await _until(lambda: any("max" in names for names in rose))
        (thrashing.path / "memory.high").write_text(str(32 * MIB))
        await _until(lambda: any("high" in names for names in rose))
    finally:
        process.kill()
        await process.wait()
    await asyncio.sleep(1.5)
    told = len(rose)
    await asyncio.sleep(1.5)
    assert len(rose) == told  # nothing happens any more
    trigger.close()


async def test_the_daemon_sets_every_alarm_of_this_kernel(thrashing: Group) -> None:
    woken: list[str] = []

    def wake(why: str, *, freed: bool = False) -> None:
        woken.append(why)

    reader = HostReader(f"cgroup:{thrashing.path}")
    alarms = alarms_of(reader, wake)
    assert alarms.start() == []
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", THRASH, str(thrashing.procs[0]))
    try:
        await _until(lambda: any("at its limit: " in why for why in woken))
        await _until(lambda: "memory pressure in the host" in woken)
    finally:
        process.kill()
        await process.wait()
    alarms.close()
    reader.close()


async def test_alarms_are_set_again_on_a_group_that_is_removed_and_made_again(
    group: Group, swap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoballoon.daemon.alarms.LOOK_EVERY_S", 0.1)
    woken: list[str] = []

    def wake(why: str, *, freed: bool = False) -> None:
        woken.append(why)

    group.limit(48 * MIB)
    reader = HostReader(f"cgroup:{group.path}")
    alarms = alarms_of(reader, wake)
    assert alarms.start() == []
    group.remove()
    await _until(lambda: len(alarms.problems()) == 2)  # its memory.events and its memory.pressure
    group.make()
    group.limit(48 * MIB)
    await _until(lambda: not alarms.problems())
    woken.clear()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", THRASH, str(group.procs[0]))
    try:
        await _until(lambda: any("at its limit: " in why for why in woken))
    finally:
        process.kill()
        await process.wait()
    alarms.close()
    reader.close()


async def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline, "not within 30 s"
        await asyncio.sleep(0.05)


def _events(group: Group) -> dict[str, int]:
    lines = (group.path / "memory.events").read_text().splitlines()
    return {name: int(count) for name, count in (line.split() for line in lines)}
