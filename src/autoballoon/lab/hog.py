"""A process of the host that takes memory at a steady rate and keeps it; the lab runs it inside the guests' group.

`python -m autoballoon.lab.hog MIB SECONDS PROCS...`: enters the groups by their cgroup.procs files, takes, says "taken"
and waits to be killed.
"""

import mmap
import os
import signal
import sys
import time
from pathlib import Path

from autoballoon.core.units import MIB, PAGE


def take(mib: int, over_s: float) -> mmap.mmap:
    """Anonymous memory of `mib` MiB, every page written, one MiB at a time spread evenly over `over_s` seconds."""
    memory = mmap.mmap(-1, mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    began = time.monotonic()
    for done in range(mib):
        for at in range(done * MIB, (done + 1) * MIB, PAGE):
            memory[at] = 1
        time.sleep(max(0.0, began + over_s * (done + 1) / mib - time.monotonic()))
    return memory


def main(mib: str, over_s: str, *procs: str) -> None:
    """Enter, take, keep."""
    for path in procs:
        Path(path).write_text(str(os.getpid()))
    held = take(int(mib), float(over_s))
    print("taken", len(held), flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
