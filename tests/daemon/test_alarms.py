"""Alarms are set together, and set again on a group that is removed and made again."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.daemon.alarms import LOOK_EVERY_S, Alarms, alarms_of
from autoballoon.guests.hypervisor import sleep_on
from autoballoon.host.memory import HostReader
from autoballoon.host.vmpressure import LevelTrigger

FIXTURES = Path(__file__).parent.parent / "fixtures" / "host"

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def group(path: Path) -> Path:
    """A group of cgroup v1, of plain files."""
    path.mkdir()
    (path / "memory.pressure_level").touch()
    (path / "cgroup.event_control").touch()
    return path


def registered(path: Path) -> bool:
    return bool((path / "cgroup.event_control").read_text())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Refused:
    """A trigger that the kernel takes never."""

    is_current = False

    def __init__(self) -> None:
        self.tries = 0

    def start(self) -> None:
        self.tries += 1
        raise CouldNot("it takes no trigger")

    def close(self) -> None:
        pass


def test_a_group_that_is_made_again_is_listened_to_again(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        before = open_files()
        vms = group(tmp_path / "vms")
        alarms = Alarms([LevelTrigger(vms, lambda level: None)])
        assert alarms.start() == []
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert (vms / "cgroup.event_control").read_text().count("low") == 1  # not set twice
        vms.rename(tmp_path / "removed")
        await asyncio.sleep(LOOK_EVERY_S + 1)
        (problem,) = alarms.problems()
        assert "fewer early ticks" in problem.says and "vms" in problem.says
        group(vms)
        await asyncio.sleep(LOOK_EVERY_S + 1)
        assert alarms.problems() == [] and registered(vms)
        alarms.close()
        assert open_files() == before

    virtually(main())


def test_one_that_is_replaced_between_two_looks_is_noticed(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        vms = group(tmp_path / "vms")
        alarms = Alarms([LevelTrigger(vms, lambda level: None)])
        alarms.start()
        vms.rename(tmp_path / "removed")
        group(vms)
        assert not registered(vms)
        await asyncio.sleep(LOOK_EVERY_S + 1)
        assert registered(vms) and alarms.problems() == []
        alarms.close()

    virtually(main())


def test_one_that_is_refused_is_told_and_not_tried_again(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        refused = Refused()
        alarms = Alarms([refused, LevelTrigger(group(tmp_path / "vms"), lambda level: None)])
        (problem,) = alarms.start()
        assert problem.says == "fewer early ticks on memory pressure: it takes no trigger"
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert refused.tries == 1 and alarms.problems() == []
        alarms.close()

    virtually(main())


@pytest.mark.parametrize("there", [("memory.events", "memory.events.local"), ("memory.events",), ()])
def test_of_a_group_its_own_limits_are_listened_to(
    tmp_path: Path, virtually: Run, there: tuple[str, ...]
) -> None:
    """Guests that are contained run into limits below it all the time. Plain files are refused, each by its name."""
    root = shutil.copytree(FIXTURES / "v2", tmp_path / "root")
    vms = root / "sys/fs/cgroup/machine.slice/vms"
    groups = (vms, vms.parent)
    files = [group / name for group in groups for name in ("memory.events", "memory.events.local")]
    for file in files:
        if file.name not in there:
            file.unlink()

    async def main() -> None:
        reader = HostReader("cgroup:/sys/fs/cgroup/machine.slice/vms", root)
        told = " ".join(problem.says for problem in alarms_of(reader, sleep_on).start())
        reader.close()
        listened = {file for file in files if f"{file} cannot be watched" in told}
        assert listened == {group / there[-1] for group in groups if there}

    virtually(main())
