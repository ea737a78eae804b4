"""A guest for the daemon: a process that calls itself QEMU, and serves a QMP socket.

`python fake_guest.py SOCKET PROCS`: enters the group by its cgroup.procs, serves until it is killed. After SIGUSR1 it
takes 330 MiB that nobody granted it, and keeps to its answers.
"""

import asyncio
import signal
import sys
import time
from pathlib import Path

from autoballoon.core.units import MIB
from autoballoon.guests.fake import FakeGuest
from tests.guests.fake_qmp import FakeQemu


async def serve(socket: str) -> None:
    guest = FakeGuest("fake", max=512 * MIB, need=80 * MIB, born_at=time.monotonic())
    taken: list[bytearray] = []

    def take() -> None:
        if len(taken) < 66:
            taken.append(bytearray(b"x" * (5 * MIB)))
            asyncio.get_running_loop().call_later(0.01, take)
        else:
            print("taken", flush=True)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, take)
    async with FakeQemu(Path(socket), guest):
        print("up", flush=True)
        await asyncio.Event().wait()


Path(sys.argv[2]).write_text("0")
Path("/proc/self/comm").write_text("qemu-fake")
asyncio.run(serve(sys.argv[1]))
