"""The hypervisor's contract on a real guest in a real QEMU, and what only a real one can show."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from autoballoon.core.model import Guest
from autoballoon.core.units import MIB
from autoballoon.guests.hypervisor import sleep_on
from autoballoon.guests.qmp import QmpHypervisor
from autoballoon.host.find import qemu_behind
from autoballoon.host.process import ProcessReader
from autoballoon.lab.vm import Vm
from tests.guests.contract import PlacedContract, Rig

from .conftest import StartGuest, qmp

pytestmark = pytest.mark.lab


class RealRig:
    """QmpHypervisor and one booted guest."""

    settles_s = 0.4
    old_s = 3.0

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.where, self.elsewhere = str(vm.ctl), f"{vm.ctl}.not"
        self.hypervisor = QmpHypervisor(
            [self.where],
            verify=qemu_behind,
            age_s=ProcessReader().age_s,
            command_timeout_s=1.0,
            ask_s=0.3,
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
        async with qmp(self.vm) as client:
            await client.execute("system_reset")

    async def silence(self) -> None:
        self.vm.stop()

    async def vanish(self) -> None:
        await self.vm.kill()


@pytest.fixture
async def real(start_guest: StartGuest) -> AsyncIterator[RealRig]:
    vm = await start_guest(may_reset=True)
    rig = RealRig(vm)
    await rig.hypervisor.start(sleep_on)
    yield rig
    await rig.hypervisor.close()


class TestRealQemu(PlacedContract):
    @pytest.fixture
    async def rig(self, real: RealRig) -> Rig:
        return real


async def test_every_request_of_an_idle_guest_is_seen_to_be_answered(real: RealRig) -> None:
    """Its statistics repeat to the bit within a second, so nothing but the queue's index tells."""
    guest = await real.until(lambda guest: guest.age_s is not None)
    assert guest.pid == real.vm.pid and guest.up_s is not None and guest.up_s > 0.5
    ages = []
    for _ in range(20):
        await real.hypervisor.ask(frozenset({guest.key}))
        (asked,) = await real.hypervisor.read()
        assert asked.age_s is not None
        ages.append(asked.age_s)
    assert max(ages) < 0.3, ages


async def test_what_was_switched_on_is_switched_off(real: RealRig) -> None:
    async with qmp(real.vm) as client:
        where = {"path": "/machine/peripheral/balloon0", "property": "guest-stats-polling-interval"}
        assert await client.execute("qom-get", where) == 1
        await real.hypervisor.close()
        assert await client.execute("qom-get", where) == 0


async def test_the_total_follows_the_balloon_of_a_guest_that_may_not_deflate(start_guest: StartGuest) -> None:
    vm = await start_guest(balloon="virtio-balloon-pci")
    rig = RealRig(vm)
    await rig.hypervisor.start(sleep_on)
    before = await rig.until(lambda guest: guest.total is not None)
    assert before.deflates_itself is False and before.total is not None
    assert await rig.hypervisor.set_target(before.key, 300 * MIB)
    after = await rig.until(
        lambda guest: guest.actual == 300 * MIB and guest.total is not None and guest.total < 300 * MIB
    )
    assert after.available is not None and after.total is not None and after.available <= after.total
    await rig.hypervisor.close()


async def test_a_guest_without_a_balloon_and_a_monitor_that_is_taken(start_guest: StartGuest) -> None:
    vm = await start_guest(balloon=None)
    rig = RealRig(vm)
    await rig.hypervisor.start(sleep_on)
    guest = await rig.until(lambda guest: True)
    assert not guest.managed and guest.actual == guest.max == 512 * MIB
    (problem,) = rig.hypervisor.problems()
    assert "no balloon device" in problem.says
    second = RealRig(vm)
    await second.hypervisor.start(sleep_on)
    (problem,) = second.hypervisor.problems()
    assert "another client holds it" in problem.says
    await rig.hypervisor.close()
    await second.until(lambda guest: True)
    await second.hypervisor.close()


async def test_two_monitors_of_one_qemu_are_one_guest(start_guest: StartGuest) -> None:
    vm = await start_guest()
    both = QmpHypervisor([str(vm.ctl), str(vm.eye)], verify=qemu_behind)
    await both.start(sleep_on)
    (first,), (problem,) = await both.read(), both.problems()
    assert first.pid == vm.pid
    # Whichever greeted first is the guest.
    assert {first.key, problem.where} == {str(vm.ctl), str(vm.eye)}
    assert f"is another monitor of the QEMU at {first.key}" in problem.says
    async with qmp(vm, problem.where) as client:  # it is let go
        await client.execute("query-status")
    await both.close()


async def test_killed_while_its_balloon_moves(real: RealRig) -> None:
    guest = await real.until(lambda guest: guest.age_s is not None)
    assert await real.hypervisor.set_target(guest.key, 200 * MIB)
    await real.until(lambda guest: guest.actual < guest.max)
    await real.vanish()
    await real.until_gone()
    assert real.hypervisor.problems() == []


async def test_a_qemu_that_was_stopped_for_long_is_heard_at_once_when_it_goes_on(real: RealRig) -> None:
    guest = await real.until(lambda guest: guest.age_s is not None)
    real.vm.stop()
    await real.wait(12)  # longer than any wait between two attempts
    (aged,) = await real.hypervisor.read()
    assert aged.age_s is not None and aged.age_s > 10
    (problem,) = real.hypervisor.problems()
    assert "QEMU is stopped" in problem.says
    real.vm.cont()
    began = time.monotonic()
    await real.until(lambda guest: guest.age_s is not None and guest.age_s < 1)
    assert time.monotonic() - began < 2
    assert real.hypervisor.problems() == []
    assert await real.hypervisor.set_target(guest.key, 300 * MIB)
    await real.until(lambda guest: guest.actual == 300 * MIB)


async def test_a_guest_that_is_migrated_away_is_not_shrunk(real: RealRig) -> None:
    """Its memory goes nowhere, slowly. QEMU announces it to nobody: events were not asked for."""
    guest = await real.until(lambda guest: guest.age_s is not None)
    async with qmp(real.vm) as client:
        await client.execute("migrate-set-parameters", {"max-bandwidth": 1 * MIB})
        await client.execute("migrate", {"uri": "exec:cat >/dev/null"})
        assert not await real.hypervisor.set_target(guest.key, 300 * MIB)
        (seen,) = await real.hypervisor.read()
        assert seen.migrating and seen.running
        assert await real.hypervisor.set_target(guest.key, guest.max)
        await client.execute("migrate_cancel")
        for _ in range(200):
            if await real.hypervisor.set_target(guest.key, 300 * MIB):
                break
            await asyncio.sleep(0.05)
    after = await real.until(lambda guest: guest.actual == 300 * MIB)
    assert not after.migrating
