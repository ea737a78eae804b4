"""The hypervisor's contract on a real libvirtd, and what only a real one can show."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from autoballoon.core.model import Guest
from autoballoon.core.units import MIB
from autoballoon.guests.hypervisor import sleep_on
from autoballoon.guests.libvirt import LibvirtHypervisor
from autoballoon.host.find_domain import qemu_of_domain
from autoballoon.host.process import ProcessReader
from autoballoon.lab.image import GuestImage
from tests.guests.contract import PlacedContract, Rig

from .libvirtd import GROUP, USER, Libvirtd, apart

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def libvirtd(image: GuestImage) -> Iterator[Libvirtd]:
    """Skips, with the sentence, where libvirt is not installed."""
    pytest.importorskip("libvirt", reason="python3-libvirt is not installed")
    daemon = Libvirtd(image)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


class RealRig:
    """LibvirtHypervisor and one domain that boots."""

    settles_s = 0.6  # its answers' times are in whole seconds
    old_s = 3.0

    def __init__(self, daemon: Libvirtd) -> None:
        self.daemon = daemon
        self.where, self.elsewhere = daemon.uri, "qemu:///session?socket=/run/nobody/libvirt-sock"
        self.hypervisor = LibvirtHypervisor(
            [self.where], verify=qemu_of_domain, age_s=ProcessReader().age_s, fresh_s=0.1, ask_s=0.4
        )

    async def until(self, seen: Callable[[Guest], bool]) -> Guest:
        guests: list[Guest] = []
        for _ in range(600):
            guests = await self.hypervisor.read()
            if guests and seen(guests[0]):
                return guests[0]
            await asyncio.sleep(0.05)
        pytest.fail(f"the guest never came to look like that: {guests} {self.hypervisor.problems()}")

    async def until_gone(self) -> None:
        for _ in range(100):
            if not await self.hypervisor.read():
                return
            await asyncio.sleep(0.05)
        pytest.fail("the guest is still seen")

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def look_at(self, *where: str) -> None:
        await self.hypervisor.look_at(where)

    async def slow_down(self) -> None:
        pass  # once a second, as QEMU was told

    async def reset(self) -> None:
        await apart(self.daemon.virsh, "reset", "one")

    async def silence(self) -> None:
        os.kill(self.daemon.pid("one"), signal.SIGSTOP)

    async def vanish(self) -> None:
        await apart(self.daemon.virsh, "destroy", "one")


@pytest.fixture
async def real(libvirtd: Libvirtd) -> AsyncIterator[RealRig]:
    await apart(libvirtd.create, "one")
    rig = RealRig(libvirtd)
    try:
        await rig.hypervisor.start(sleep_on)
        yield rig
        await rig.hypervisor.close()
    finally:
        await apart(libvirtd.remove_domains)


class TestRealLibvirt(PlacedContract):
    @pytest.fixture
    async def rig(self, real: RealRig) -> Rig:
        return real


async def test_a_domain_whose_memory_is_being_written_out_is_not_shrunk(real: RealRig) -> None:
    """To libvirt and QEMU a live dump is a migration to a file; into a pipe that nobody empties it takes for ever."""
    guest = await real.until(lambda guest: guest.age_s is not None and not guest.migrating)
    pipe = real.daemon.folder / "dump"
    os.mkfifo(pipe)
    shutil.chown(pipe, USER, GROUP)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    dump = asyncio.create_task(apart(real.daemon.virsh, "dump", "one", str(pipe), "--live"))
    try:
        seen = await real.until(lambda guest: guest.migrating)  # libvirt has told of it: nobody asked
        assert seen.running
        assert not await real.hypervisor.set_target(guest.key, 300 * MIB)
        assert (await real.until(lambda guest: True)).actual == guest.max
    finally:
        os.close(reader)  # the dump fails
        await asyncio.gather(dump, return_exceptions=True)
    await real.until(lambda guest: not guest.migrating)
    assert await real.hypervisor.set_target(guest.key, 300 * MIB)
    await real.until(lambda guest: guest.actual == 300 * MIB)
