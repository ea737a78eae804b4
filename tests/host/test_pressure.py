"""A PSI trigger is set in the real kernel, or refused in one sentence."""

import asyncio
import os
from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.host.pressure import PressureTrigger

PSI = Path("/proc/pressure/memory")

needs_psi = pytest.mark.skipif(
    not PSI.exists() or os.geteuid() != 0, reason="needs root and a kernel with PSI on"
)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def unexpected() -> None:
    raise AssertionError("no pressure was expected")


@needs_psi
async def test_a_trigger_is_set_and_taken_back() -> None:
    trigger = PressureTrigger(PSI, 1.9, 2.0, unexpected)
    assert not trigger.watching
    trigger.start()
    assert trigger.watching
    trigger.close()
    trigger.close()
    assert not trigger.watching


@needs_psi
async def test_terms_that_the_kernel_refuses_are_told() -> None:
    trigger = PressureTrigger(PSI, 0.15, 60.0, unexpected)
    with pytest.raises(CouldNot, match=r"/proc/pressure/memory takes no pressure trigger .*60000000"):
        trigger.start()
    assert not trigger.watching


async def test_a_file_that_is_no_psi_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "memory.pressure"
    file.write_text("some total=0\n" * 4)
    with pytest.raises(CouldNot, match="takes no pressure trigger"):
        PressureTrigger(file, 0.15, 1.0, unexpected).start()


async def test_a_file_that_is_absent_is_told(tmp_path: Path) -> None:
    with pytest.raises(CouldNot, match="No such file"):
        PressureTrigger(tmp_path / "memory.pressure", 0.15, 1.0, unexpected).start()


@needs_psi
async def test_nothing_is_left_open() -> None:
    before = open_files()
    trigger = PressureTrigger(PSI, 1.9, 2.0, unexpected)
    trigger.start()
    await asyncio.sleep(0)
    trigger.close()
    with pytest.raises(CouldNot):
        PressureTrigger(PSI, 0.15, 60.0, unexpected).start()
    assert open_files() == before
