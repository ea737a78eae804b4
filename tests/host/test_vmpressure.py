"""The levels of cgroup v1's memory pressure, from eventfds that a written tree takes as the kernel does."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.host import vmpressure
from autoballoon.host.vmpressure import LevelTrigger


class Listening:
    """A trigger on a group of plain files: what it registers is kept, and a test signals as the kernel would."""

    def __init__(self, group: Path) -> None:
        group.mkdir()
        (group / "memory.pressure_level").touch()
        (group / "cgroup.event_control").touch()
        self.heard: list[str] = []
        self.trigger = LevelTrigger(group, self.heard.append)
        self.trigger.start()

    async def signal(self, *levels: str) -> list[str]:
        """What is heard when the kernel tells of these levels."""
        for level in levels:
            os.eventfd_write(self.trigger._events[level], 1)
        await asyncio.sleep(0.01)
        heard, self.heard[:] = list(self.heard), []
        return heard


@pytest.fixture(autouse=True)
def short_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vmpressure, "GAPS_S", {"low": 0.08, "medium": 0.05, "critical": 0.02})


@pytest.fixture
def open_files() -> Iterator[None]:
    """Nothing is left open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_each_level_is_asked_for_with_a_file_of_its_own(tmp_path: Path) -> None:
    listening = Listening(tmp_path / "vms")
    text = (tmp_path / "vms/cgroup.event_control").read_text()
    file, events = listening.trigger._file, listening.trigger._events
    # Each write is a command of its own to the kernel; into a plain file they follow each other.
    assert text == "".join(f"{events[level]} {file} {level}" for level in ("low", "medium", "critical"))
    listening.trigger.close()


async def test_the_highest_of_the_levels_is_told_once(tmp_path: Path) -> None:
    listening = Listening(tmp_path / "vms")
    assert await listening.signal("low", "medium", "critical") == ["critical"]
    listening.trigger.close()


def test_one_that_was_told_is_not_listened_to_for_a_while_and_a_higher_one_is(
    tmp_path: Path, virtually: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def story() -> None:
        listening = Listening(tmp_path / "vms")
        assert await listening.signal("low") == ["low"]
        assert await listening.signal("low") == []
        assert await listening.signal("low", "medium") == ["medium"]
        await asyncio.sleep(0.1)
        assert listening.heard == []  # what came while nobody listened has had its tick
        assert await listening.signal("low") == ["low"]
        listening.trigger.close()

    virtually(story())


async def test_nothing_is_left_behind(tmp_path: Path, open_files: None) -> None:
    listening = Listening(tmp_path / "vms")
    assert listening.trigger.watching
    await listening.signal("low")
    listening.trigger.close()
    listening.trigger.close()
    assert not listening.trigger.watching
    await asyncio.sleep(0.1)


async def test_a_group_that_is_removed_is_no_pressure(tmp_path: Path, open_files: None) -> None:
    listening = Listening(tmp_path / "vms")
    (tmp_path / "vms").rename(tmp_path / "gone")
    assert await listening.signal("low", "medium", "critical") == []
    assert not listening.trigger.watching


async def test_a_group_that_does_not_tell_is_one_sentence(tmp_path: Path, open_files: None) -> None:
    with pytest.raises(CouldNot, match="does not tell of memory pressure"):
        LevelTrigger(tmp_path, lambda level: None).start()
    (tmp_path / "memory.pressure_level").touch()
    with pytest.raises(CouldNot, match="does not tell of memory pressure"):
        LevelTrigger(tmp_path, lambda level: None).start()
