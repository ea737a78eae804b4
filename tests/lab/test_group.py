"""Where control groups do not allow a lab: one sentence, nothing left."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import MIB, PAGE
from autoballoon.lab.cache import cache_folder
from autoballoon.lab.group import ENVIRONMENT, Group, Waker
from autoballoon.lab.swap import SwapFile

TAKES = "import sys; open(sys.argv[1], 'w').write('0'); memory = bytearray(64 << 20); print(len(memory))"

SLEEPS = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

static char *next;
static int zeros;

/* Have the kernel touch page after page for us, until it finds none: it does not wait. */
static void fill(void)
{
	while (read(zeros, next, 1) == 1)
		next += 4096;
}

int main(int count, char **words)
{
	char *area = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int group = open(words[1], O_WRONLY);

	zeros = open("/dev/zero", O_RDONLY);
	next = mmap(0, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(next, 64 << 20, MADV_NOHUGEPAGE);
	/* Where glibc gave the kernel an area, it gets one that can go and come back as if swapped. */
	if (__rseq_size) {
		if (syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, 32, 1, RSEQ_SIG))
			return 2;
		if (syscall(SYS_rseq, area, 32, 0, RSEQ_SIG))
			return 3;
	}
	if (write(group, "0", 1) != 1)
		return 4;
	for (int round = 0; round < 50; round++) {
		fill();
		madvise(area, 4096, MADV_DONTNEED);
		fill();
		usleep(1000);
	}
	return 0;
}
"""


@pytest.mark.parametrize("parent", ["", "memory"])
def test_without_a_memory_controller_nothing_is_made(tmp_path: Path, parent: str) -> None:
    (tmp_path / parent).mkdir(exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CouldNot, match="cannot make its memory group"):
        Group("lab", tree=tmp_path).make()
    assert sorted(tmp_path.rglob("*")) == before


def test_the_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "unified" / "lab").mkdir(parents=True)  # mkdir fails there, as on one that may only be read
    with pytest.raises(
        CouldNot, match=rf"memory group {tmp_path}/unified/lab .* needs a writable {tmp_path}/unified \("
    ):
        Group("lab", tree=tmp_path).make()
    assert not (tmp_path / "memory" / "lab").exists()


def test_a_group_that_is_there_already_is_left_alone(tmp_path: Path, killed: list[int]) -> None:
    """It may be another lab's."""
    other = tmp_path / "memory" / "lab"
    other.mkdir(parents=True)
    (other / "cgroup.procs").write_text(f"{os.getpid()}\n")
    with pytest.raises(CouldNot, match=r"memory group .*/memory/lab \(File exists\)"):
        Group("lab", tree=tmp_path).make()
    assert ((other / "cgroup.procs").exists(), killed) == (True, [])


def test_a_process_of_another_pid_namespace_is_not_our_own_group(
    tmp_path: Path, killed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoballoon.lab.group._GONE_S", 0.0)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "cgroup.procs").write_text(f"0\n{os.getpid()}\n")
    with pytest.raises(CouldNot, match="still holds the processes"):  # a plain folder's file keeps it
        Group("lab", tree=tmp_path).remove()
    assert set(killed) == {os.getpid()}


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Whom the lab would kill; it kills nobody."""
    pids = list[int]()
    monkeypatch.setattr(os, "kill", lambda pid, _: pids.append(pid))
    return pids


def test_version_2_hands_the_controller_down_from_the_root(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("cpu io")
    with pytest.raises(CouldNot):  # a plain folder gets no memory.current
        Group("lab", tree=tmp_path).make()
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"


def test_the_files_of_either_version(tmp_path: Path) -> None:
    two = Group("lab", tree=tmp_path)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "memory.current").write_text("4096\n")
    two.limit(1 << 20)
    assert (two.version, two.usage(), (tmp_path / "lab" / "memory.max").read_text()) == (2, 4096, "1048576")
    (tmp_path / "lab" / "memory.current").write_text(f"{2 << 20}\n")
    with pytest.raises(
        CouldNot, match="cannot swap enough of it"
    ):  # a plain folder's memory.high frees nothing
        two.limit(1 << 19)
    assert (tmp_path / "lab" / "memory.max").read_text() == "1048576"
    assert (tmp_path / "lab" / "memory.high").read_text() == "max"
    two.limit(None)
    assert (tmp_path / "lab" / "memory.max").read_text() == "max"
    assert two.procs == (tmp_path / "lab" / "cgroup.procs",)

    (tmp_path / "memory").mkdir()
    (tmp_path / "unified").mkdir()
    one = Group("lab", tree=tmp_path)
    assert (one.version, one.path) == (1, tmp_path / "memory" / "lab")
    assert one.procs == (tmp_path / "memory/lab/cgroup.procs", tmp_path / "unified/lab/cgroup.procs")


@pytest.fixture
def crowded(tmp_path: Path) -> Group:
    """A group of version 1 of plain files, in which something waits for memory."""
    (tmp_path / "memory" / "lab").mkdir(parents=True)
    group = Group("lab", tree=tmp_path)
    group.limit(24 * MIB)
    (group.path / "memory.usage_in_bytes").write_text(f"{20 * MIB}\n")
    (group.path / "memory.oom_control").write_text("oom_kill_disable 1\nunder_oom 1\n")
    return group


def test_a_limit_that_cannot_be_led_back_is_at_the_next_look(crowded: Group) -> None:
    limit = crowded.path / "memory.limit_in_bytes"
    assert crowded.wake()
    assert limit.read_text() == f"{24 * MIB + PAGE}"
    (crowded.path / "memory.oom_control").write_text("oom_kill_disable 1\nunder_oom 0\n")
    limit.unlink()
    limit.mkdir()  # nothing can be written there, as while others take what is free: EBUSY
    assert not crowded.wake()
    limit.rmdir()
    assert not crowded.wake()
    assert limit.read_text() == f"{24 * MIB}"


def test_looks_that_find_no_memory_are_counted_and_how_long_it_was_at_most(
    crowded: Group, virtually: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    waker = Waker(crowded)

    async def look() -> None:
        waking = asyncio.create_task(waker.run())
        await asyncio.sleep(0.32)
        waker.begin()
        await asyncio.sleep(0.1)
        (crowded.path / "memory.oom_control").write_text("oom_kill_disable 1\nunder_oom 0\n")
        await asyncio.sleep(1)
        waking.cancel()

    virtually(look())
    assert waker.extra() == {"stalls": 2, "stalled_s": 0.1}


def test_version_2_cannot_tell_how_often(tmp_path: Path) -> None:
    assert Waker(Group("lab", tree=tmp_path)).extra() == {"stalls": None, "stalled_s": None}


@pytest.fixture
def full() -> Iterator[tuple[Group, "subprocess.Popen[str]"]]:
    """A group of 24 MiB that does not swap, and a process in it that wants 64."""
    group = Group(f"autoballoon-test-{time.monotonic_ns()}")
    if group.version == 2:
        pytest.skip("a group of version 2 always kills")
    group.make()
    try:
        (group.path / "memory.swappiness").write_text("0")  # whatever swap the machine has
        group.limit(24 * MIB)
        words = [sys.executable, "-c", TAKES, str(group.procs[0])]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            try:
                until(lambda: process.poll() is not None or waits(group))
                yield group, process
            finally:
                process.kill()
    finally:
        group.remove()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def waits(group: Group) -> bool:
    return "under_oom 1" in (group.path / "memory.oom_control").read_text()


@pytest.mark.lab
def test_what_finds_no_memory_waits_and_is_not_killed(full: tuple[Group, "subprocess.Popen[str]"]) -> None:
    group, process = full
    for _ in range(20):
        group.wake()
        time.sleep(0.02)
        assert process.poll() is None
    group.limit(128 * MIB)
    assert process.communicate(timeout=20)[0] == f"{64 * MIB}\n"


@pytest.mark.lab
def test_who_waits_is_woken_to_swap(full: tuple[Group, "subprocess.Popen[str]"]) -> None:
    group, process = full
    swap = SwapFile(cache_folder() / f"swap-test-{time.monotonic_ns()}")
    swap.make(128 * MIB)
    (group.path / "memory.swappiness").write_text("60")
    try:
        time.sleep(0.5)
        assert process.poll() is None
        assert waits(group)
        group.wake()
        assert process.communicate(timeout=20)[0] == f"{64 * MIB}\n"
        group.wake()
        assert (group.path / "memory.limit_in_bytes").read_text() == f"{24 * MIB}\n"
    finally:
        swap.remove()


@pytest.mark.lab
def test_who_wakes_where_nothing_is_left_lives_in_the_environment_of_the_group(tmp_path: Path) -> None:
    (tmp_path / "sleeps.c").write_text(SLEEPS)
    subprocess.run(["gcc", "-O1", "-o", tmp_path / "sleeps", tmp_path / "sleeps.c"], check=True)
    group = Group(f"autoballoon-test-{time.monotonic_ns()}")
    if group.version == 2:
        pytest.skip("a group of version 2 always kills")
    group.make()
    try:
        (group.path / "memory.swappiness").write_text("0")  # whatever swap the machine has
        group.limit(16 * MIB)
        ends = [
            subprocess.run(
                [tmp_path / "sleeps", group.procs[0]], env=environment, timeout=20, check=False
            ).returncode
            for environment in ({}, {**os.environ, **ENVIRONMENT})
        ]
    finally:
        group.remove()
    assert ends == [-signal.SIGSEGV, 0]
