"""Load control on real guests: turns, a daemon that leaves, one that is killed, a guest that somebody else paused."""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autoballoon.core.units import GIB, MIB
from autoballoon.daemon.statefile import StateFile, Stopped
from autoballoon.lab.accel import Accel
from autoballoon.lab.host import LabHost
from autoballoon.lab.image import GuestImage
from autoballoon.lab.vm import Vm, VmSpec
from autoballoon.views.status import Status

from .conftest import all_of, qmp
from .test_daemon_real import Daemon, is_seen, take

pytestmark = pytest.mark.lab

TAKEN, LIMIT = 250, 1050 * MIB
"""Three guests that have taken so many MiB need about 380 each while QEMU is young: two fit and three do not, even
where the host holds 230 MiB that are no guest's."""
NAMES = ("first", "second", "third")


class Suspending(Daemon):
    """A daemon that may stop its guests."""

    def __init__(self, host: LabHost, folder: Path) -> None:
        super().__init__(host, folder)
        text = self.config.read_text().replace("[host]\n", '[host]\noverload = "suspend"\n')
        self.config.write_text(text + "[defaults]\nmay_suspend = true\n")
        self.state = Path(f"{self.socket}.state.json")

    def kept(self) -> tuple[Stopped, ...]:
        """Whom the state file names as stopped."""
        return StateFile(self.state).load().stopped

    async def release(self) -> str:
        """`run --release`: what it prints."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "autoballoon", "run", "--config", str(self.config), "--release"),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0
        return said.decode()


def stopped(status: Status) -> list[str]:
    return sorted(guest.name for guest in status.snapshot.guests if not guest.running)


def are_stopped(*names: str) -> Callable[[Status], bool]:
    return lambda status: stopped(status) == sorted(names)


async def paused(guests: dict[str, Vm]) -> list[str]:
    """As QEMU itself says."""
    found = []
    for name, guest in guests.items():
        async with qmp(guest) as client:
            status = await client.execute("query-status")
            assert isinstance(status, dict)
            if status["status"] == "paused":
                found.append(name)
    return sorted(found)


async def test_guests_take_turns_and_only_what_was_stopped_is_resumed(
    image: GuestImage, accel: Accel, tmp_path: Path
) -> None:
    async with LabHost(limit=None, swap=2 * GIB, say=print) as host:
        specs = [VmSpec(name=name, image=image, accel=accel, workload="eat") for name in NAMES]
        started = await all_of(host.start_vm(spec) for spec in specs)
        guests = dict(zip(NAMES, started, strict=True))
        await asyncio.gather(*(take(guest, TAKEN) for guest in started))
        host.group.limit(LIMIT)
        daemon = Suspending(host, tmp_path)
        await daemon.start()
        try:
            # One waits, the others run; when its turn comes another waits.
            await daemon.until("statistics", is_seen(*NAMES))
            waits = await daemon.until("one stopped", lambda status: len(stopped(status)) == 1, 60)
            (one,) = stopped(waits)
            assert await paused(guests) == [one]
            assert one in daemon.state.read_text()
            turned = await daemon.until(
                "another one's turn",
                lambda status: len(stopped(status)) == 1 and one not in stopped(status),
                150,
            )
            (other,) = stopped(turned)
            assert all(len(stopped(status)) < len(NAMES) for status in daemon.seen)
            assert f"{other}: stopped: it has had its turn" in daemon.log.read_text()
            assert f"{one}: runs again" in daemon.log.read_text()

            # Killed outright, with a guest that somebody has paused: only what the daemon stopped runs again.
            await daemon.end(signal.SIGKILL)
            assert await paused(guests) == [other]
            by_hand = next(name for name in NAMES if name not in (one, other))
            async with qmp(guests[by_hand]) as client:
                await client.execute("stop")
            assert await daemon.release() == f"{other} runs again\n"
            assert await paused(guests) == [by_hand]
            assert daemon.kept() == ()

            # The next one finds all fit, and leaves the one by hand alone; when that is let run, not all fit.
            await daemon.start()
            await daemon.until("the one by hand", are_stopped(by_hand))
            async with qmp(guests[by_hand]) as client:
                await client.execute("cont")
            again = await daemon.until(
                "one stopped", lambda status: len(stopped(status)) == 1 and by_hand not in stopped(status), 90
            )
            (last,) = stopped(again)

            # Killed again, and followed by another: it lets run what the one before it had stopped.
            await daemon.end(signal.SIGKILL)
            await daemon.start()
            await daemon.until(f"{last} running", are_stopped())
            await daemon.until("one stopped", lambda status: len(stopped(status)) == 1, 60)
            assert await daemon.end() == 0
            assert await paused(guests) == []
            assert daemon.kept() == ()
            assert "Traceback" not in daemon.log.read_text()
            for guest in guests.values():
                guest.send("memory")
                await guest.expect("answer", timeout=60)
        finally:
            print(daemon.log.read_text())
            if daemon.process.returncode is None:
                daemon.process.kill()
            await daemon.process.wait()
