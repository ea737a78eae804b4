"""The lab's group maker and the host's readers on a real cgroup v2 tree."""

import subprocess
import sys
from pathlib import Path

import pytest

from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.units import MIB
from autoballoon.host.memory import HostReader
from autoballoon.lab.group import Group

from .conftest import TREE, hog


def events(group: Group) -> dict[str, int]:
    lines = (group.path / "memory.events").read_text().splitlines()
    return {name: int(count) for name, count in (line.split() for line in lines)}


def test_the_memory_controller_is_version_2(group: Group) -> None:
    assert "memory" in (TREE / "cgroup.controllers").read_text().split()
    assert group.version == 2
    assert group.path == TREE / group.path.name
    assert group.pressure == group.path / "memory.pressure"


def test_a_process_is_charged_in_the_group_and_killed_with_it(group: Group) -> None:
    before = group.usage()
    with hog(group, 40) as process:
        assert group.pids() == [process.pid]
        assert group.usage() - before > 40 * MIB
        group.remove()
        assert process.wait(5) == -9
    assert not group.exists()


def test_beside_a_process_in_an_inner_group_no_group_is_made(slice_: Path) -> None:
    """Only the root may hold processes beside groups: one sentence, and nothing is left."""
    crowded = slice_ / "crowded"
    crowded.mkdir()
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        (crowded / "cgroup.procs").write_text(str(sleeper.pid))
        with pytest.raises(CouldNot, match="cannot make its memory group"):
            Group("lab", tree=crowded).make()
        assert not (crowded / "lab").exists()
    finally:
        sleeper.kill()
        sleeper.wait()
        crowded.rmdir()


def test_a_leaf_in_a_slice_is_limited_by_what_is_above_it(slice_: Path) -> None:
    leaf = Group("lab", tree=slice_)
    leaf.make()
    try:
        with pytest.raises(BadInput, match=r"write a size into its memory\.max"):
            HostReader(f"cgroup:{leaf.path}")
        leaf.limit(200 * MIB)
        reader = HostReader(f"cgroup:{leaf.path}")
        assert reader.read().capacity == 200 * MIB
        (slice_ / "memory.high").write_text(str(160 * MIB))
        assert reader.read().capacity == 160 * MIB
        (slice_ / "memory.max").write_text(str(120 * MIB))
        assert reader.read().capacity == 120 * MIB
        neighbour = Group("neighbour", tree=slice_)
        neighbour.make()
        before = reader.read().available
        with hog(neighbour, 40):
            assert 40 * MIB < before - reader.read().available < 60 * MIB
            assert abs(reader.free_now() - reader.read().available) < 4 * MIB
        neighbour.remove()
        reader.close()
    finally:
        leaf.remove()


def test_what_the_group_has_left(group: Group) -> None:
    group.limit(128 * MIB)
    reader = HostReader(f"cgroup:{group.path}")
    assert reader.pressure_path() == group.path / "memory.pressure"
    empty = reader.read()
    assert empty.capacity == 128 * MIB
    assert empty.available > 124 * MIB
    with hog(group, 50):
        taken = reader.read()
        assert 50 * MIB < empty.available - taken.available < 70 * MIB
        assert abs(reader.free_now() - taken.available) < 4 * MIB
    # The cache of a file that the group has read is charged to it, and still available.
    words = f"echo $$ > {group.procs[0]} && exec cat /mnt/file"
    with Path("/mnt/file").open("wb") as file:
        file.truncate(60 * MIB)
    subprocess.run(["sh", "-c", words], check=True, stdout=subprocess.DEVNULL)
    assert group.usage() > 60 * MIB
    assert reader.read().available > 120 * MIB
    Path("/mnt/file").unlink()
    reader.close()


def test_a_group_made_again_under_its_name_is_found_again(group: Group) -> None:
    group.limit(128 * MIB)
    reader = HostReader(f"cgroup:{group.path}")
    group.remove()
    with pytest.raises(CouldNot, match="is gone"):
        reader.read()
    group.make()
    group.limit(64 * MIB)
    assert reader.read().capacity == 64 * MIB
    reader.close()


def test_a_limit_below_what_is_held_swaps_it_and_kills_nobody(group: Group, swap: Path) -> None:
    with hog(group, 80) as process:
        group.limit(40 * MIB)
        assert group.usage() <= 40 * MIB
        assert process.poll() is None
        assert int((group.path / "memory.swap.current").read_text()) > 30 * MIB


def test_where_nothing_can_be_swapped_the_limit_is_refused_and_kills_nobody(group: Group) -> None:
    (group.path / "memory.swap.max").write_text("0")
    with hog(group, 80) as process:
        with pytest.raises(CouldNot, match="cannot swap enough of it"):
            group.limit(40 * MIB)
        assert process.poll() is None
        assert events(group)["oom_kill"] == 0
        assert (group.path / "memory.max").read_text().strip() == "max"
        assert (group.path / "memory.high").read_text().strip() == "max"


def test_a_group_without_swap_is_killed_within_and_says_so(group: Group) -> None:
    (group.path / "memory.swap.max").write_text("0")
    group.limit(40 * MIB)
    words = [sys.executable, "-m", "autoballoon.lab.hog", "80", "0", *map(str, group.procs)]
    assert subprocess.run(words, check=False).returncode == -9
    assert events(group)["oom_kill"] == 1
