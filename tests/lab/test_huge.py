"""Huge pages with holes, on this machine's kernel: a process of our own in a control group of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoballoon.host.huge import split_holed
from autoballoon.lab.group import Group

SIZE = 64 * 1024 * 1024
GIVER = """
import ctypes, mmap, sys
size, groups = int(sys.argv[1]), sys.argv[2:]
for procs in groups:
    open(procs, "w").write("0")
libc = ctypes.CDLL(None)
memory = mmap.mmap(-1, size + (2 << 20), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
start = (ctypes.addressof(ctypes.c_char.from_buffer(memory)) + (2 << 20) - 1) // (2 << 20) * (2 << 20)
libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), 14)  # MADV_HUGEPAGE
ctypes.memset(start, 1, size)
for at in range(0, size, 8192):
    libc.madvise(ctypes.c_void_p(start + at), ctypes.c_size_t(4096), 4)  # MADV_DONTNEED
print(start, flush=True)
sys.stdin.read()
"""


def huge_pages_are_on() -> bool:
    state = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return state.exists() and "[never]" not in state.read_text()


@pytest.fixture
def group() -> Iterator[Group]:
    group = Group(f"autoballoon-test-{os.getpid()}")
    group.make()
    try:
        yield group
    finally:
        group.remove()


@pytest.mark.lab
@pytest.mark.skipif(not huge_pages_are_on(), reason="transparent huge pages are off on this machine")
def test_memory_given_up_in_small_pages_comes_back_at_once(group: Group) -> None:
    words = [sys.executable, "-c", GIVER, str(SIZE), *map(str, group.procs)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as giver:
        try:
            assert giver.stdout is not None
            start = int(giver.stdout.readline())
            before = group.usage()
            assert before > SIZE * 0.9, (
                "the kernel gave every second page back by itself; this rule is not needed"
            )
            assert split_holed(giver.pid, [(start, SIZE)]) is not None
            assert group.usage() < before - SIZE * 0.4
        finally:
            giver.kill()


def test_a_process_that_is_gone_is_no_error() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert split_holed(gone.pid, [(0, 4096)]) is None
