"""The daemon killed outright at random moments, over fake QEMUs that grow and shrink meanwhile.

Whenever it dies: no guest was set below what it needed, whoever stands still is in the state file, and the next daemon
lets it run and goes on. Five deaths in an ordinary run, a hundred in a soak; the same with real guests below.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
import pytest

from autoballoon.core.units import KIB, MIB
from autoballoon.daemon.statefile import Saved, StateFile
from autoballoon.guests.fake import FakeGuest
from autoballoon.lab.host import LabHost
from autoballoon.views.status import Status
from tests.guests.fake_qmp import FakeQemu

from .conftest import StartGuests
from .test_daemon_real import daemon_on, is_seen

pytestmark = pytest.mark.lab

GUESTS, MAX, OVERHEAD = 6, 512 * MIB, 30 * MIB
CAPACITY = 2300 * MIB
FOUND_S = 2.5
"""What a guest has come to need later than so long ago, nobody can have seen and answered."""


class Guest(FakeGuest):
    """Remembers each shrink to less than it has needed all of the time since anybody could see it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.needs = deque([(time.monotonic(), self.need)])
        self.starved: list[str] = []

    def wants(self, need: int) -> None:
        self.need = need
        self.needs.append((time.monotonic(), need))

    def set_target(self, size: int, now: float) -> None:
        while len(self.needs) > 1 and self.needs[1][0] < time.monotonic() - FOUND_S:
            self.needs.popleft()
        least = min(need for _, need in self.needs)
        if size < min(self.target, least):
            self.starved.append(f"{self.name}: {self.target // MIB} -> {size // MIB} of {least // MIB} MiB")
        super().set_target(size, now)


class Farm:
    """Fake QEMUs whose needs change, and the /proc in which their memory is seen."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.dice = Random(seed)
        self.qemus: dict[int, FakeQemu] = {}
        self.guests: dict[int, Guest] = {}
        self.state = StateFile(folder / "control.sock.state.json")
        root = folder / "root/proc"
        for pid in range(100, 100 + GUESTS):
            (root / str(pid)).mkdir(parents=True)
            # The twenty fields after the name: state, ..., and the start time last.
            (root / str(pid) / "stat").write_text(f"{pid} (qemu) S {'0 ' * 18}500 0\n")
            guest = self.guests[pid] = Guest(f"web-{pid}", max=MAX, need=150 * MIB, cache=100 * MIB)
            self.qemus[pid] = FakeQemu(folder / f"{pid}.qmp", guest)
        (root / "uptime").write_text("5000.00 9000.00\n")
        (root / "vmstat").write_text("pswpin 0\npswpout 0\n")
        (root / "sys/kernel/random").mkdir(parents=True)
        (root / "sys/kernel/random/boot_id").write_text("this-boot\n")
        (folder / "config.toml").write_text(
            f'[host]\noverload = "suspend"\n[connect]\nqmp = ["{folder}/*.qmp"]\n'
            f'[control]\nsocket = "{folder}/control.sock"\n[defaults]\nfloor = "10%"\nmay_suspend = true\n'
        )
        self.crowded = False
        self._files: dict[Path, int] = {}
        self.show()

    def show(self) -> None:
        """Write /proc anew, each file in one write of its old length: the daemon keeps them open."""
        held = 0
        for pid, qemu in self.qemus.items():
            qemu.guest.advance(qemu.clock())
            # What is stopped and not needed by others would be swapped out by and by.
            here = qemu.guest.actual if qemu.guest.running else 0
            held += here + OVERHEAD
            self._write(f"{pid}/status", f"RssAnon: {(here + OVERHEAD) // KIB:12} kB\nVmSwap: {0:12} kB\n")
        free = max(0, CAPACITY - 100 * MIB - held) // KIB
        self._write("meminfo", f"MemTotal: {CAPACITY // KIB:12} kB\nMemAvailable: {free:12} kB\n")

    def _write(self, name: str, text: str) -> None:
        path = self.folder / "root/proc" / name
        if path not in self._files:
            self._files[path] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.pwrite(self._files[path], text.encode(), 0)

    async def live(self) -> None:
        """Needs jump now and then; together they fit, unless it is `crowded`."""
        while True:
            await asyncio.sleep(0.02)
            least, most = (360, 450) if self.crowded else (60, 330)
            for guest in self.guests.values():
                if self.dice.random() < 0.01:
                    guest.wants(self.dice.randint(least, most) * MIB)
            self.show()

    @property
    def starved(self) -> list[str]:
        """What was asked of guests that they needed."""
        return [says for guest in self.guests.values() for says in guest.starved]

    @property
    def stopped(self) -> set[int]:
        return {pid for pid, qemu in self.qemus.items() if not qemu.guest.running}

    async def let_run(self, left: set[int]) -> None:
        """The daemon that has just started lets those run that the one before it had stopped."""
        async with asyncio.timeout(5):
            while any("cont" not in self.qemus[pid].commands for pid in left):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)

    def saved(self) -> Saved:
        """What the state file says."""
        return self.state.load()

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)


async def started(farm: Farm) -> Process:
    """A daemon that has ended its first tick."""
    with (farm.folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.lab.victim", str(farm.folder)), stdout=log, stderr=log
        )
    async with asyncio.timeout(30):
        while await status(farm) is None:
            assert process.returncode is None, (farm.folder / "log").read_text()
            await asyncio.sleep(0.05)
    return process


async def status(farm: Farm) -> Status | None:
    class Reply(msgspec.Struct):
        ok: bool
        data: Status | None = None

    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_unix_connection(farm.folder / "control.sock", limit=1 << 22)
        writer.write(b'{"v":1,"id":1,"do":"status"}\n')
        line = await reader.readline()
        writer.close()
        if line:
            return msgspec.json.decode(line, type=Reply).data
    return None


@pytest.mark.alone
async def test_whenever_it_is_killed_nobody_starves_and_the_next_one_goes_on(
    tmp_path: Path, soak_minutes: float
) -> None:
    farm = Farm(tmp_path, seed=1)
    process: Process | None = None
    deaths, stops, moves = (100 if soak_minutes else 5), 0, 0
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(farm.close)
        for qemu in farm.qemus.values():
            await stack.enter_async_context(qemu)
        life = asyncio.create_task(farm.live())
        stack.callback(life.cancel)
        try:
            for death in range(deaths):
                left = farm.stopped
                process = await started(farm)
                await farm.let_run(left)
                farm.crowded = death % 5 == 3
                async with asyncio.timeout(60):
                    while farm.crowded and not farm.stopped - left:  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.05)
                await asyncio.sleep(farm.dice.uniform(0.0, 3.0))
                seen = await status(farm)
                process.kill()
                await process.wait()
                await asyncio.sleep(0.05)  # what it has sent is taken in

                assert seen is not None
                assert [one for one in seen.daemon.problems if one.where.startswith("invariant")] == []
                assert farm.starved == []
                assert farm.stopped <= {one.pid for one in farm.saved().stopped}
                stops += len(farm.stopped)
                assert not farm.crowded or farm.stopped
                moves += sum("balloon" in qemu.commands for qemu in farm.qemus.values())
                for qemu in farm.qemus.values():
                    qemu.commands.clear()

            left = farm.stopped
            process = await started(farm)
            await farm.let_run(left)
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 10) == 0
            assert farm.stopped == set()
            assert farm.saved().stopped == ()
        finally:
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert "a defect of autoballoon" not in log
    assert moves > deaths
    assert stops
    print(f"{deaths} deaths, {moves} guests moved between them, {stops} found stopped")


async def test_real_guests_keep_what_they_need_whenever_it_is_killed(
    start_guests: StartGuests, lab_host: LabHost, tmp_path: Path, soak_minutes: float
) -> None:
    lab_host.group.limit(900 * MIB)
    dice = Random(1)
    guests = await start_guests("first", "second", workload="eat")
    async with daemon_on(lab_host, tmp_path) as daemon:
        for death in range(5 if soak_minutes else 2):
            await daemon.until("statistics", is_seen("first", "second"))
            busy, idle = guests if death % 2 else reversed(guests)
            idle.send("free")
            await idle.expect("answer", timeout=30)
            busy.send("take 250")  # the other is made smaller for it, and somewhere in this the daemon dies
            await asyncio.sleep(dice.uniform(0.0, 3.0))
            assert await daemon.end(signal.SIGKILL) == -signal.SIGKILL
            assert (await busy.expect("answer", timeout=60)).data["trouble"] == ""
            # What the busy one came to need after that, nobody gives it; what the idle one needs, nobody took.
            idle.send("memory")
            assert (await idle.expect("answer", timeout=30)).data["available"] > 10 * MIB
            assert not [one for one in daemon.seen[-1].daemon.problems if one.where.startswith("invariant")]
            await daemon.start()
            await daemon.until("what it lacks given to the busy one", has_spare(busy.name))


def has_spare(name: str) -> Callable[[Status], bool]:
    return lambda status: any(
        guest.name == name and (guest.available or 0) > 20 * MIB for guest in status.snapshot.guests
    )
