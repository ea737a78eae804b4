"""A guest for the daemon: a process that calls itself QEMU, and serves a QMP socket.

`python fake_guest.py SOCKET PROCS`: enters the group by its cgroup.procs, serves until it is killed.
"""

import asyncio
import sys
import time
from pathlib import Path

from autoballoon.core.units import MIB
from autoballoon.guests.fake import FakeGuest
from tests.guests.fake_qmp import FakeQemu


async def serve(socket: str) -> None:
    guest = FakeGuest("fake", max=512 * MIB, need=80 * MIB, born_at=time.monotonic())
    async with FakeQemu(Path(socket), guest):
        print("up", flush=True)
        await asyncio.Event().wait()


Path(sys.argv[2]).write_text("0")
Path("/proc/self/comm").write_text("qemu-fake")
asyncio.run(serve(sys.argv[1]))
