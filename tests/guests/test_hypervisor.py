"""The contract, kept by the fake, by the QMP adapter against a fake server, and by the libvirt adapter against a fake
module."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from autoballoon.core.model import Guest
from autoballoon.guests.fake import FakeGuest, FakeHypervisor
from autoballoon.guests.hypervisor import Hypervisor, sleep_on
from autoballoon.guests.libvirt import LibvirtHypervisor
from autoballoon.guests.qmp import QmpHypervisor
from tests.guests.contract import HypervisorContract, PlacedContract, Rig
from tests.guests.fake_libvirt import FakeLibvirt
from tests.guests.fake_qmp import FakeQemu

SPEED = 20
"""How much faster than real time the fake server's guest lives: a second between its statistics is 50 ms."""


class FakeRig:
    """FakeHypervisor on a clock that only the test moves."""

    settles_s = 0.1
    old_s = 2.5

    def __init__(self) -> None:
        self.now = 100.0
        self.guest = FakeGuest("one", born_at=100.0)
        self.hypervisor = FakeHypervisor(lambda: self.now, [self.guest])

    async def until(self, seen: Callable[[Guest], bool]) -> Guest:
        for _ in range(100):
            (guest,) = await self.hypervisor.read()
            if seen(guest):
                return guest
            if self.guest.driver is False:
                self.guest.driver = True
            self.now += 0.1
        pytest.fail("the guest never came to look like that")

    async def until_gone(self) -> None:
        assert await self.hypervisor.read() == []

    async def wait(self, seconds: float) -> None:
        self.now += seconds

    async def slow_down(self) -> None:
        pass

    async def reset(self) -> None:
        self.guest.reset(self.now)

    async def silence(self) -> None:
        self.guest.silent = True

    async def vanish(self) -> None:
        self.hypervisor.guests.clear()


class QuickRig:
    """An adapter against something fake whose guest lives SPEED times as fast."""

    settles_s = 0.3
    old_s = 0.2
    guest: FakeGuest
    hypervisor: Hypervisor

    @staticmethod
    def now() -> float:
        return time.monotonic() * SPEED

    async def until(self, seen: Callable[[Guest], bool]) -> Guest:
        for _ in range(500):
            guests = await self.hypervisor.read()
            if guests and seen(guests[0]):
                return guests[0]
            await asyncio.sleep(0.005)
            if self.guest.driver is False and self.now() - self.guest.born_at > 2:
                self.guest.driver = True
        pytest.fail(f"the guest never came to look like that: {await self.hypervisor.read()}")

    async def until_gone(self) -> None:
        for _ in range(500):
            if not await self.hypervisor.read():
                return
            await asyncio.sleep(0.005)
        pytest.fail("the guest is still seen")

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def silence(self) -> None:
        self.guest.silent = True


class QmpRig(QuickRig):
    hypervisor: QmpHypervisor

    def __init__(self, folder: Path) -> None:
        self.where, self.elsewhere = str(folder / "*.qmp"), str(folder / "elsewhere" / "*.qmp")
        self.guest = FakeGuest("one", born_at=self.now())
        self.qemu = FakeQemu(folder / "one.qmp", self.guest, self.now)
        self.hypervisor = QmpHypervisor(
            [self.where],
            verify=lambda path, pid: pid,
            age_s=lambda pid: 10.0,
            rescan_s=0.02,
            interval_s=0.02,
            ask_s=0.3,
        )

    async def look_at(self, *where: str) -> None:
        await self.hypervisor.look_at(where)

    async def slow_down(self) -> None:
        since, real = self.now(), time.monotonic()
        self.qemu.clock = lambda: since + time.monotonic() - real

    async def reset(self) -> None:
        self.qemu.reset()

    async def vanish(self) -> None:
        await self.qemu.quit()


class LibvirtRig(QuickRig):
    where, elsewhere = "qemu:///system", "qemu:///session"
    hypervisor: LibvirtHypervisor

    def __init__(self) -> None:
        self.guest = FakeGuest("one", born_at=self.now())
        self.api = FakeLibvirt(self.now)
        self.domain = self.api.add(self.guest)
        self.api.refuses, self.api.refuses_uri = "no such daemon", self.elsewhere
        self.hypervisor = LibvirtHypervisor(
            [self.where],
            verify=lambda name, uuid, folders: 4711,
            age_s=lambda pid: 10.0,
            api=self.api,
            fresh_s=0.02,
            ask_s=0.3,
        )

    async def look_at(self, *where: str) -> None:
        await self.hypervisor.look_at(where)

    async def slow_down(self) -> None:
        since, real = self.now(), time.monotonic()
        self.api.clock = lambda: since + time.monotonic() - real

    async def reset(self) -> None:
        self.api.reset(self.domain)

    async def vanish(self) -> None:
        self.api.end(self.domain)


class TestFakeHypervisor(HypervisorContract):
    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        rig = FakeRig()
        await rig.hypervisor.start(sleep_on)
        yield rig
        await rig.hypervisor.close()


class TestQmpHypervisor(PlacedContract):
    @pytest.fixture
    async def rig(self, tmp_path: Path) -> AsyncIterator[Rig]:
        rig = QmpRig(tmp_path)
        async with rig.qemu:
            await rig.hypervisor.start(sleep_on)
            yield rig
            await rig.hypervisor.close()


class TestLibvirtHypervisor(PlacedContract):
    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        rig = LibvirtRig()
        await rig.hypervisor.start(sleep_on)
        yield rig
        await rig.hypervisor.close()
        for _ in range(200):  # closing waits for a call that is out, but we do not wait for it when leaving
            if not rig.api.connections:
                break
            await asyncio.sleep(0.005)
        assert rig.api.connections == []
        assert rig.domain.number < 0 or rig.domain.period_s == 0, "what was switched on is switched off"
