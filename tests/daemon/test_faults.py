"""What goes wrong around a daemon at work: nothing is lost, the other guests are served, and its ticks come in time.

Twelve guests behind real QMP sessions, whose needs jump, on a host smaller than all of them.
"""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from autoballoon.cli.connect import LONGEST_REPLY
from autoballoon.core.errors import CouldNot
from autoballoon.core.units import MIB
from autoballoon.daemon import recorder
from autoballoon.daemon.recorder import Recording, Writer
from autoballoon.daemon.statefile import StateFile
from autoballoon.guests.fake import FakeGuest
from tests.daemon.busy import Load
from tests.daemon.qemus import Qemus
from tests.daemon.test_loop import Run
from tests.daemon.test_recorder import FullDisk
from tests.guests.fake_qmp import FakeQemu

GUESTS, CAPACITY_MIB = 12, 3600


class Busy(Qemus, Load):
    """The host at work; the first of its guests is the one that things happen to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, CAPACITY_MIB)
        self.qemus: list[FakeQemu] = []


@contextlib.asynccontextmanager
async def busy(folder: Path) -> AsyncIterator[Busy]:
    world = Busy(folder)
    async with contextlib.AsyncExitStack() as stack:
        world.qemus = [await stack.enter_async_context(world.qemu(number)) for number in range(GUESTS)]
        world.lively = [qemu.guest for qemu in world.qemus[1:]]
        await stack.enter_async_context(world)
        living = asyncio.create_task(world.live())
        stack.callback(living.cancel)
        await asyncio.sleep(30)
        await world.sees(GUESTS)
        yield world


@pytest.mark.parametrize("fault", ["silent", "jammed", "garbage", "endless", "cuts", "half-closes"])
def test_a_socket_that_misbehaves_for_half_a_minute(tmp_path: Path, virtually: Run, fault: str) -> None:
    """ "silent" is what a QEMU under SIGSTOP does, "endless" sends 10 MiB without a newline."""

    async def main() -> None:
        async with busy(tmp_path) as world:
            world.qemus[0].fault = fault
            await world.serves(30)
            assert [one.where for one in (await world.status()).daemon.problems] == [str(world.qemus[0].path)]
            world.qemus[0].fault = None
            await world.serves(20)
            await world.sees(GUESTS)
            assert (await world.status()).daemon.problems == ()

    virtually(main())


def test_a_qemu_that_is_killed(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with busy(tmp_path) as world:
            victim = world.qemus[0]
            await victim.quit()
            del world.hypervisor.guests[str(victim.path)]
            await world.serves(20)
            await world.sees(GUESTS - 1)

    virtually(main())


@pytest.mark.parametrize("boots", [True, False])
def test_fifty_guests_start_within_a_second(tmp_path: Path, virtually: Run, boots: bool) -> None:
    """Those that do not boot have run for long, with all their memory in use as far as the host sees: fifty sockets
    that somebody has just made readable. They take more than there is, and have to give it back first."""

    def start(world: Busy, guest: FakeGuest, driver_after_s: float) -> None:
        loop = asyncio.get_running_loop()
        guest.born_at = guest._moved_until = loop.time()
        guest.driver = False
        world.touched[guest.name] = 120 * MIB

        def driver_is_up() -> None:
            guest.advance(loop.time())
            guest.driver = True

        loop.call_later(driver_after_s, driver_is_up)

    async def main() -> None:
        async with busy(tmp_path) as world, contextlib.AsyncExitStack() as stack:
            world.capacity += 50 * 300 * MIB
            started = []
            for number in range(100, 150):
                started.append(qemu := world.qemu(number))
                if boots:
                    start(world, qemu.guest, 2 + number % 7)
                await stack.enter_async_context(qemu)
                await asyncio.sleep(0.02)
            await world.serves(15)
            await world.sees(GUESTS + 50)
            status = await world.status()
            assert status.daemon.account.guarantee
            assert all(qemu.guest.need < qemu.guest.actual < qemu.guest.max for qemu in started)
            assert world.free_now() > 0
            if boots:
                assert world.least_free > 0

    virtually(main())


@pytest.mark.parametrize("step_s", [3600, -3600])
def test_the_clock_steps_by_an_hour(tmp_path: Path, virtually: Run, step_s: int) -> None:
    """The loop's own clock never steps; QEMU dates its statistics by the one that does."""

    async def main() -> None:
        async with busy(tmp_path) as world:
            for qemu in world.qemus:
                qemu.stepped_s = step_s
            await world.serves(20)
            await world.sees(GUESTS)

    virtually(main())


def test_the_disk_of_the_state_file_is_full(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[bytes] = []

    def full(self: StateFile, content: bytes) -> None:
        tried.append(content)
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        async with busy(tmp_path) as world:
            with monkeypatch.context() as patch:
                patch.setattr(StateFile, "_write", full)
                key = str(world.qemus[0].path)
                world.daemon._state = world.daemon._parts.engine.hold(world.daemon._state, key)
                await world.serves(10)
                assert tried
            await world.serves(40)  # tried again every half minute
            assert key in world.daemon._keeper.saved.holds
            assert key in StateFile(tmp_path / "control.sock.state.json").load().holds
            await world.sees(GUESTS)

    virtually(main())


def test_the_disk_of_a_recording_is_full(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recording ends with a sentence; of the daemon that is recorded nobody notices anything."""
    lines = 10
    monkeypatch.setattr(recorder, "MEMBER_LINES", lines)

    async def record(world: Busy, recording: Writer) -> None:
        reader, writer = await asyncio.open_unix_connection(world.config.socket, limit=LONGEST_REPLY)
        try:
            writer.write(b'{"v":1,"id":1,"do":"watch"}\n')
            while line := await reader.readline():
                recording.add(msgspec.json.encode(msgspec.json.decode(line)["data"]))
        finally:
            writer.close()
            recording.close()

    async def main() -> None:
        async with busy(tmp_path) as world:
            recording = Writer(tmp_path / "full.gz", 64 * MIB)
            recording_it = asyncio.create_task(record(world, recording))
            while not recording.written:
                await world.serves(5)
            recording._file = FullDisk(recording._file, 100)  # type: ignore[assignment]
            await world.serves(lines + 5)
            assert recording_it.done()
            with pytest.raises(CouldNot, match="No space left on device"):
                await recording_it
            assert len(list(Recording(tmp_path / "full.gz"))) == lines
            another = Writer(tmp_path / "another.gz", 64 * MIB)
            recording_it = asyncio.create_task(record(world, another))
            await world.serves(lines + 5)
            assert another.written
            await world.sees(GUESTS)
        await recording_it
        assert len(list(Recording(tmp_path / "another.gz"))) == another.lines

    virtually(main())


def test_a_hundred_reloads(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with busy(tmp_path) as world:
            learnt: Callable[[], bool] = lambda: all(  # noqa: E731
                track.ours for track in world.daemon._state.tracks.values()
            )
            assert learnt()
            for number in range(100):
                world.config = msgspec.structs.replace(world.config, interval_s=1.0 if number % 2 else 0.9)
                world.daemon.reload()
                await asyncio.sleep(0.4)
            await world.serves(20)
            await world.sees(GUESTS)
            assert learnt()

    virtually(main())
