"""The host readers on real QEMU processes and in a real control group that is short of memory."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import MIB
from autoballoon.host.find import qemu_behind
from autoballoon.host.memory import HostReader
from autoballoon.host.pressure import PressureTrigger
from autoballoon.host.process import ProcessReader
from autoballoon.lab.group import Group

pytestmark = pytest.mark.lab

RAM, LOADED = 128 * MIB, 48 * MIB
BACKED = {
    "anonymous": "",
    "memfd": "-object memory-backend-memfd,id=m,size=128M,share=on -machine memory-backend=m",
    "private file": "-object memory-backend-file,id=m,size=128M,mem-path=/dev/shm,share=off"
    " -machine memory-backend=m",
    "two nodes": "-object memory-backend-ram,id=m,size=64M -object memory-backend-ram,id=n,size=64M"
    " -smp 2 -numa node,memdev=m -numa node,memdev=n",
}
GREEDY = """
import sys
for procs in sys.argv[2:]:
    open(procs, "w").write("0")
with open(sys.argv[1], "wb") as file:
    file.write(bytes(48 << 20))
while True:
    with open(sys.argv[1], "rb") as file:
        while file.read(1 << 20):
            pass
"""
"""Enters the groups, writes a file and reads it again and again: more page cache than the group may hold."""


@contextlib.contextmanager
def qemu(where: Path, backing: str) -> Iterator[int]:
    """A stopped QEMU whose guest memory holds LOADED bytes that are not zero, and a monitor at vm.qmp."""
    (where / "blob").write_bytes(os.urandom(MIB) * (LOADED // MIB))
    command = (
        "qemu-system-x86_64 -machine q35,accel=tcg -m 128 -display none -nodefaults -S"
        f" -device loader,file=blob,addr=0x1000000,force-raw=on -qmp unix:vm.qmp,server=on,wait=off {backing}"
    )
    with subprocess.Popen(command.split(), cwd=where) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("backing", BACKED)
def test_what_a_real_qemu_holds(tmp_path: Path, backing: str) -> None:
    with qemu(tmp_path, BACKED[backing]) as pid:
        deadline = time.monotonic() + 20
        # Exactly so, once it has started: two files of /proc tell of two moments.
        while (memory := ProcessReader().read(pid, RAM)) is None or memory.resident != LOADED:
            assert time.monotonic() < deadline, f"it should hold the blob and nothing else: {memory}"
            time.sleep(0.05)
        assert memory.overhead is not None and 20 * MIB < memory.overhead < 120 * MIB
        assert qemu_behind(str(tmp_path / "vm.qmp"), pid) == pid
        assert qemu_behind(str(tmp_path / "vm.qmp"), os.getpid()) == pid
    assert ProcessReader().read(pid, RAM) is None


@contextlib.contextmanager
def greedy(group: Group, file: Path) -> Iterator[None]:
    """A process in the group that goes on reading more than the group may hold."""
    with subprocess.Popen([sys.executable, "-c", GREEDY, str(file), *map(str, group.procs)]) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.fixture
def group() -> Iterator[Group]:
    """A control group limited to 16 MiB. Skips, with the sentence, where none can be made."""
    group = Group(f"autoballoon-test-{os.getpid()}")
    try:
        group.make()
    except CouldNot as trouble:
        pytest.skip(str(trouble))
    try:
        group.limit(16 * MIB)
        yield group
    finally:
        group.remove()


async def test_a_real_group_that_is_short_of_memory_is_read_and_triggers(
    group: Group, tmp_path: Path
) -> None:
    reader = HostReader(f"cgroup:{group.path}")
    before = reader.read()
    assert before.capacity == 16 * MIB
    path = reader.pressure_path()
    assert path == group.pressure and path is not None
    pressed = asyncio.Event()
    trigger = PressureTrigger(path, 0.001, 2.0, pressed.set)
    trigger.start()
    try:
        with greedy(group, tmp_path / "file"):
            async with asyncio.timeout(20):
                await pressed.wait()
            after = reader.read()
    finally:
        trigger.close()
        reader.close()
    assert before.psi_some_s is not None and after.psi_some_s is not None
    assert after.psi_some_s > before.psi_some_s
    assert after.available > 6 * MIB  # the group is full, but of page cache


async def test_a_trigger_on_a_group_that_is_removed_ends_and_says_so(group: Group) -> None:
    path = group.pressure
    assert path is not None
    told = asyncio.Event()
    trigger = PressureTrigger(path, 0.5, 2.0, told.set)
    trigger.start()
    group.remove()
    async with asyncio.timeout(20):
        await told.wait()
    assert not trigger.watching
