"""What it costs to look at the host: microseconds for each reading, the fastest of several rounds.

The control group is one made for the purpose (as root), the process a QEMU that has not started its guest.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import GIB, MIB
from autoballoon.host.memory import HostReader
from autoballoon.host.process import ProcessReader
from autoballoon.lab.group import Group

ROUNDS, ROUND_S = 5, 0.2
QEMU = "qemu-system-x86_64"


def microseconds(read: Callable[[], object]) -> float:
    """One call of `read`, in the fastest of the rounds: the others were disturbed."""
    best = float("inf")
    for _ in range(ROUNDS):
        calls = 0
        began = time.perf_counter()
        while (spent := time.perf_counter() - began) < ROUND_S:
            read()
            calls += 1
        best = min(best, spent / calls * 1e6)
    return best


def show(what: str, read: Callable[[], object]) -> None:
    print(f"{what:<44} {microseconds(read):>8.1f} us")


def host(name: str, capacity: str) -> None:
    """The whole host, and the one file that is read between ticks."""
    reader = HostReader(capacity)
    show(f"{name}: free_now", reader.free_now)
    show(f"{name}: read", reader.read)
    reader.close()


def group() -> None:
    made = Group(f"autoballoon-bench-{os.getpid()}")
    try:
        made.make()
        made.limit(GIB)
        host(f"cgroup v{made.version}", f"cgroup:{made.path}")
    except CouldNot as trouble:
        print(f"control group left out: {trouble}")
    finally:
        made.remove()


def process() -> None:
    if shutil.which(QEMU) is None:
        print(f"QEMU process left out: {QEMU} is not installed")
        return
    ram = 256 * MIB
    command = [QEMU, "-S", "-m", "256", "-display", "none", "-nodefaults", "-accel", "tcg"]
    with subprocess.Popen(command) as qemu:
        try:
            time.sleep(1.0)
            settled = ProcessReader()
            show("QEMU process: status and stat", lambda: settled.read(qemu.pid, ram))
            show("QEMU process: with smaps", lambda: ProcessReader().read(qemu.pid, ram))
        finally:
            qemu.kill()


def main() -> None:
    host("machine", "auto")
    group()
    process()


if __name__ == "__main__":
    main()
