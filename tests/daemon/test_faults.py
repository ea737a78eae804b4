"""What goes wrong around a daemon at work: nothing is lost, the other guests are served, and its ticks come in time.

Twelve guests behind real QMP sessions, whose needs jump, on a host smaller than all of them; time is virtual, so a late
tick is one that waited for somebody.
"""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import msgspec
import pytest

from autoballoon.core.units import MIB
from autoballoon.daemon.statefile import StateFile
from tests.daemon.qemus import Qemus
from tests.daemon.test_loop import Run
from tests.guests.fake_qmp import FakeQemu

GUESTS, CAPACITY_MIB = 12, 3600
LATE_S = 0.25
HURT_S = 5.0
"""A guest's need is granted within so long, the balloon's own way included."""


class Busy(Qemus):
    """The host at work. Its guests' needs, the first one's aside, jump once a second; together they fit."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, CAPACITY_MIB)
        self.qemus: list[FakeQemu] = []
        self.hurt: dict[str, float] = {}
        """Since when a guest has less than it needs."""
        self.starved: set[str] = set()

    async def live(self) -> None:
        dice, now = Random(4), asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(0.5)
            for qemu in self.qemus[1:]:
                guest = qemu.guest
                guest.advance(now())
                if guest.actual >= guest.need:
                    self.hurt.pop(guest.name, None)
                elif now() - self.hurt.setdefault(guest.name, now()) > HURT_S:
                    self.starved.add(guest.name)
                if dice.random() < 0.1:
                    guest.need = dice.randint(60, 200) * MIB

    async def serves(self, seconds: float) -> None:
        """The ticks of so many seconds come, in time, and each guest but the first has what it needs."""
        before = (await self.status()).daemon.tick.number
        self.starved.clear()
        await asyncio.sleep(seconds)
        told = (await self.status()).daemon
        assert told.tick.number - before >= seconds - 1
        assert told.lateness is not None
        assert (told.lateness.missed, told.lateness.most_s < LATE_S) == (0, True)
        assert self.starved == set()
        assert self.daemon._failures == 0

    async def sees(self, count: int) -> None:
        """All guests are there, and their readings are fresh."""
        guests = (await self.status()).snapshot.guests
        assert len(guests) == count
        assert [guest.name for guest in guests if guest.age_s is None or guest.age_s > 4] == []


@contextlib.asynccontextmanager
async def busy(folder: Path) -> AsyncIterator[Busy]:
    world = Busy(folder)
    async with contextlib.AsyncExitStack() as stack:
        world.qemus = [await stack.enter_async_context(world.qemu(number)) for number in range(GUESTS)]
        await stack.enter_async_context(world)
        living = asyncio.create_task(world.live())
        stack.callback(living.cancel)
        await asyncio.sleep(60)
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
