"""How often guests are looked at, on virtual time: the calm ones less often, and all spread over the time between."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from autoballoon.core.calm import CALM_EVERY_S
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.hypervisor import sleep_on
from autoballoon.guests.qmp import QmpHypervisor
from tests.guests.fake_qmp import FakeQemu, one_for_each

Run = Callable[[Coroutine[Any, Any, Any]], Any]
GUESTS = 20


class Fleet:
    """So many fake QEMUs on the loop's own clock, and a hypervisor that watches them."""

    def __init__(self, folder: Path) -> None:
        self.clock = asyncio.get_running_loop().time
        self.qemus = [
            FakeQemu(folder / f"g{n}.qmp", FakeGuest(f"g{n}", born_at=self.clock() - 60), self.clock)
            for n in range(GUESTS)
        ]
        self.hypervisor = QmpHypervisor(
            [str(folder / "*.qmp")], verify=one_for_each, age_s=lambda pid: 60.0, clock=self.clock
        )

    async def __aenter__(self) -> "Fleet":
        for qemu in self.qemus:
            await qemu.__aenter__()
        await self.hypervisor.start(sleep_on)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hypervisor.close()
        for qemu in self.qemus:
            await qemu.quit()

    def commands(self) -> int:
        return sum(len(qemu.commands) for qemu in self.qemus)

    def relax(self) -> None:
        self.hypervisor.relax(frozenset(str(qemu.path) for qemu in self.qemus))

    async def looks_in(self, seconds: float) -> int:
        before = sum(qemu.commands.count("qom-get") for qemu in self.qemus)
        await asyncio.sleep(seconds)
        return sum(qemu.commands.count("qom-get") for qemu in self.qemus) - before

    async def sent_in(self, seconds: float) -> float:
        """Commands for each guest and second."""
        before = self.commands()
        await asyncio.sleep(seconds)
        return (self.commands() - before) / GUESTS / seconds


def test_calm_guests_take_less_than_one_command_a_second(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with Fleet(tmp_path) as fleet:
            await asyncio.sleep(5)
            eager = await fleet.sent_in(60)
            assert 1.0 <= eager <= 1.2
            fleet.relax()
            await asyncio.sleep(5)
            assert await fleet.sent_in(60) <= 0.7
            fleet.hypervisor.relax(frozenset())
            await asyncio.sleep(1)
            assert await fleet.sent_in(60) >= 0.95 * eager

    virtually(main())


def test_looks_are_spread_over_the_time_between_them(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with Fleet(tmp_path) as fleet:
            await asyncio.sleep(5)
            fleet.relax()
            await asyncio.sleep(5)
            looks = [await fleet.looks_in(CALM_EVERY_S / 8) for _ in range(8)]
            assert max(looks) <= 2 * GUESTS / 8
            await asyncio.sleep(0.7)
            fleet.hypervisor.relax(frozenset())  # nor is there a rush when all end to be calm
            looks = [await fleet.looks_in(1.0 / 8) for _ in range(8)]
            assert max(looks) <= 2 * GUESTS / 8
            assert sum(looks) == GUESTS

    virtually(main())


def test_readings_of_calm_guests_stay_fresh_and_an_end_of_calm_shows_at_once(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        async with Fleet(tmp_path) as fleet:
            fleet.relax()
            oldest = 0.0
            for _ in range(200):
                await asyncio.sleep(0.1)
                ages = [guest.age_s for guest in await fleet.hypervisor.read()]
                oldest = max(oldest, *(age for age in ages if age is not None))
            assert CALM_EVERY_S / 2 < oldest <= CALM_EVERY_S + 1.0
            fleet.hypervisor.relax(frozenset())
            await asyncio.sleep(1.1)
            for _ in range(50):
                await asyncio.sleep(0.1)
                ages = [guest.age_s for guest in await fleet.hypervisor.read()]
                assert all(age is not None and age <= 2.1 for age in ages), ages

    virtually(main())


def test_events_without_end_have_a_guest_reviewed_once_a_second(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with Fleet(tmp_path) as fleet:
            await asyncio.sleep(5)
            qemu = fleet.qemus[0]
            before = qemu.commands.count("query-memory-size-summary")
            for _ in range(500):
                qemu.event("ACPI_DEVICE_OST", info={})
                await asyncio.sleep(0.02)
            assert 9 <= qemu.commands.count("query-memory-size-summary") - before <= 12
            qemu.guest.max *= 2
            qemu.event("ACPI_DEVICE_OST", info={})
            await asyncio.sleep(1.1)
            guest = await fleet.hypervisor.read_one(str(qemu.path))
            assert guest is not None and guest.max == qemu.guest.max, "the last is not forgotten"

    virtually(main())
