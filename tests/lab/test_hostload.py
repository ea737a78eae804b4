import asyncio
import os
from pathlib import Path

from autoballoon.core.units import MIB
from autoballoon.lab.experiments import HostLoad
from autoballoon.lab.hostload import host_load
from autoballoon.lab.processes import identify

LOAD = HostLoad(mib=1, over_s=0.0, after_go_s=0.0)


async def test_the_process_enters_the_group_and_ends_with_the_block(tmp_path: Path) -> None:
    procs, notes = tmp_path / "cgroup.procs", list[str]()
    took: asyncio.Queue[int] = asyncio.Queue()
    os.mkfifo(procs)
    async with host_load(LOAD, [procs], took.put_nowait, notes.append):
        async with asyncio.timeout(5):
            pid = int(await asyncio.to_thread(procs.read_text))
            assert await took.get() == MIB
        assert identify(pid) is not None
    assert identify(pid) is None
    assert notes == []


async def test_a_process_that_ends_early_is_noted(tmp_path: Path) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    took = list[int]()
    async with host_load(LOAD, [tmp_path / "nowhere" / "cgroup.procs"], took.append, said.put_nowait):
        async with asyncio.timeout(5):
            assert "ended before the guests did" in await said.get()
    assert took == []
