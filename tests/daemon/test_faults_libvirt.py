"""libvirtd ends and comes back while a daemon balances its guests: nothing is lost, and its ticks come in time.

The libvirt is the fake one of tests/guests, which passes the same test body as a real libvirtd. Its calls are made at
once instead of in threads, for which virtual time would not wait.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoballoon.core.model import SetTarget
from autoballoon.core.units import MIB
from autoballoon.daemon.config import Config
from autoballoon.daemon.parts import Parts
from autoballoon.guests import libvirt_orders
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.hypervisor import Wake
from autoballoon.guests.libvirt import LibvirtHypervisor
from autoballoon.guests.libvirt_crew import Crew
from tests.daemon.busy import Load
from tests.daemon.test_loop import Run
from tests.guests.fake_libvirt import FakeLibvirt

GUESTS, CAPACITY_MIB = 12, 3600
URI = "qemu:///system"


def at_once(work: Callable[[], Any]) -> "asyncio.Future[Any]":
    future = asyncio.get_running_loop().create_future()
    try:
        future.set_result(work())
    except Exception as error:
        future.set_exception(error)
    return future


class Domains(Load):
    """A host at work whose guests are domains."""

    def __init__(self, folder: Path) -> None:
        self.clock = asyncio.get_running_loop().time
        self.api = FakeLibvirt(self.clock)
        super().__init__(folder, CAPACITY_MIB)
        self.hypervisor.guests = {}
        for number in range(GUESTS):
            guest = FakeGuest(f"g{number}", pid=1000 + number, need=80 * MIB, born_at=self.clock() - 100)
            self.hypervisor.guests[f"{URI}#{self.api.add(guest).uuid}"] = guest
        self.lively = list(self.hypervisor.guests.values())

    def assemble(self, config: Config, wake: Wake, old: Parts | None) -> Parts:
        parts = super().assemble(config, wake, old)
        libvirt = LibvirtHypervisor(
            [URI],
            verify=lambda name, uuid, folders: self.guests[name].pid,
            age_s=self.age_s,
            api=self.api,
            clock=self.clock,
        )
        self.assembled[-1] = Parts(config, parts.engine, self, self, (libvirt,))
        return self.assembled[-1]


@pytest.mark.parametrize("away_s", [0, 20])
def test_libvirtd_is_restarted(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch, away_s: float
) -> None:
    monkeypatch.setattr(Crew, "apart", staticmethod(at_once))
    monkeypatch.setattr(libvirt_orders, "_FIRST_LOOK_S", 0.0)

    async def main() -> None:
        world = Domains(tmp_path)
        async with world:
            living = asyncio.create_task(world.live())
            await asyncio.sleep(60)
            await world.serves(10)
            await world.sees(GUESTS)
            held = next(iter(world.hypervisor.guests))
            world.daemon._state = world.daemon._parts.engine.hold(world.daemon._state, held)
            targets = {key: track.target for key, track in world.daemon._state.tracks.items()}
            if away_s:
                world.api.refuses = "Failed to connect socket: No such file or directory"
            world.api.crash()
            if away_s:
                await world.ticks(away_s)
                status = await world.status()
                assert [one.where for one in status.daemon.problems] == [URI]
                assert "No such file or directory" in status.daemon.problems[0].says
                assert {guest.key for guest in status.snapshot.guests} == targets.keys()
                assert not [one for one in status.decisions if one.kind == SetTarget.__name__]
                world.api.refuses = None
                await world.ticks(
                    5 + 3
                )  # the longest pause between two attempts, and what was missed is made up for
            await world.serves(20)
            await world.sees(GUESTS)
            status = await world.status()
            assert status.daemon.problems == ()
            assert status.daemon.account.guarantee
            tracks = world.daemon._state.tracks
            assert all(track.ours for track in tracks.values()), "the restart made strangers of them"
            assert tracks.keys() == targets.keys()
            assert held in world.daemon._state.holds
            assert any(track.target != targets[key] for key, track in tracks.items())
            living.cancel()

    virtually(main())


def test_a_domain_without_a_driver_is_said_to_have_none(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libvirt does not tell; until it is loaded, and then the guest is balanced as any other."""
    monkeypatch.setattr(Crew, "apart", staticmethod(at_once))
    monkeypatch.setattr(libvirt_orders, "_FIRST_LOOK_S", 0.0)

    async def main() -> None:
        world = Domains(tmp_path)
        bare = world.guests["g0"]
        bare.driver = False
        async with world:
            await asyncio.sleep(25)
            assert await reason(world, "g0") == "silent"
            await asyncio.sleep(10)
            assert await reason(world, "g0") == "no-driver"
            assert bare.actual == bare.max
            bare.driver = True
            await asyncio.sleep(20)
            assert await reason(world, "g0") not in ("silent", "no-driver")

    async def reason(world: Domains, name: str) -> str:
        return next(one.reason for one in (await world.status()).decisions if one.guest == name)

    virtually(main())
