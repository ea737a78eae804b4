"""The guest is the host here: its own control groups, a swap file on its own disk."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoballoon.core.units import MIB
from autoballoon.lab.group import Group
from autoballoon.lab.swap import SwapFile

TREE = Path("/sys/fs/cgroup")


@pytest.fixture(scope="session")
def swap() -> Iterator[Path]:
    """256 MiB of swap on a file."""
    file = SwapFile(Path("/mnt/swap"))
    file.make(256 * MIB)
    yield file.path
    file.remove()
    assert not file.path.exists()


@pytest.fixture
def group() -> Iterator[Group]:
    """The lab's group, without a limit."""
    made = Group(f"lab-{os.getpid()}")
    made.make()
    yield made
    made.remove()
    assert not made.exists()


@pytest.fixture
def slice_() -> Iterator[Path]:
    """An inner group that hands memory down, as systemd's slices do."""
    folder = TREE / "machine.slice"
    (TREE / "cgroup.subtree_control").write_text("+memory")
    folder.mkdir()
    (folder / "cgroup.subtree_control").write_text("+memory")
    yield folder
    folder.rmdir()


@contextlib.contextmanager
def hog(group: Group, mib: int, over_s: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """A process in the group that takes memory and keeps it; it has taken all when the block begins."""
    words = [sys.executable, "-m", "autoballoon.lab.hog", str(mib), str(over_s), *map(str, group.procs)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("taken"), f"the hog ended with {process.wait()}"
        yield process
    finally:
        process.kill()
        process.communicate()
