"""How domains are looked at while they shrink, on virtual time and without a thread."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from autoballoon.core.units import MIB
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.follow import FOLLOW_DOWN_S, FOLLOW_S
from autoballoon.guests.libvirt import LibvirtHypervisor
from autoballoon.guests.libvirt_crew import Crew
from tests.guests.fake_libvirt import FakeDomain, FakeLibvirt

URI = "qemu:///system"
Run = Callable[[Coroutine[Any, Any, Any]], Any]


class AtOnce(Crew):
    """Makes each call where it stands."""

    async def call(
        self,
        work: Callable[[], Any],
        patience_s: float,
        ended: Callable[[], None] | None = None,
        unclaimed: Callable[[Any], None] | None = None,
    ) -> Any:
        try:
            return work()
        finally:
            if ended is not None:
                ended()


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoballoon.guests.libvirt_link.Crew", AtOnce)


class World:
    """Guests of 512 MiB whose balloons move 200 MiB a second, and when it was heard that one has given memory up."""

    def __init__(self) -> None:
        self.clock = asyncio.get_running_loop().time
        self.api = FakeLibvirt(self.clock)
        self.freed: list[float] = []
        self.hypervisor = LibvirtHypervisor(
            [URI],
            verify=lambda name, uuid, folders: 4711,
            age_s=lambda pid: 60.0,
            api=self.api,
            clock=self.clock,
        )

    def add(self, name: str, **kind: Any) -> FakeDomain:
        guest = FakeGuest(name, rate=200 * MIB, born_at=self.clock() - 60, **kind)
        return self.api.add(guest)

    def wake(self, why: str, *, freed: bool = False) -> None:
        if freed:
            self.freed.append(self.clock())

    async def see(self) -> None:
        """Look twice, with new statistics in between, so that the drivers are known to be up."""
        for _ in range(2):
            await asyncio.sleep(1)
            await self.hypervisor.read()

    async def order(self, domain: FakeDomain, mib: int) -> None:
        assert await self.hypervisor.set_target(f"{URI}#{domain.uuid}", mib * MIB)

    async def looks_in(self, seconds: float, *domains: FakeDomain) -> int:
        before = sum(domain.looks for domain in domains)
        await asyncio.sleep(seconds)
        return sum(domain.looks for domain in domains) - before


@asynccontextmanager
async def world(*domains: str, **kind: Any) -> AsyncIterator[tuple[World, list[FakeDomain]]]:
    world = World()
    added = [world.add(name, **kind) for name in domains]
    await world.hypervisor.start(world.wake)
    await world.see()
    yield world, added
    await world.hypervisor.close()


def test_a_shrink_is_looked_at_when_it_should_have_arrived(virtually: Run) -> None:
    async def main() -> None:
        async with world("one") as (here, (one,)):
            for mib, looks in ((412, 3), (312, 2)):
                began = here.clock()
                await here.order(one, mib)
                assert await here.looks_in(5, one) == looks, "the second time its speed is known"
                assert 0.49 < here.freed.pop() - began < 0.56 and not here.freed

    virtually(main())


def test_one_that_does_not_move_is_not_looked_at_for_ever(virtually: Run) -> None:
    async def main() -> None:
        async with world("one", stuck=True) as (here, (one,)):
            await here.order(one, 300)
            assert await here.looks_in(60, one) == pytest.approx(FOLLOW_S / FOLLOW_DOWN_S, abs=1)
            assert not here.freed

    virtually(main())


def test_one_that_is_given_memory_is_not_looked_at(virtually: Run) -> None:
    async def main() -> None:
        async with world("one") as (here, (one,)):
            await here.order(one, 300)
            assert await here.looks_in(0.15, one) == 1
            await here.order(one, 512)
            assert await here.looks_in(5, one) == 0
            await here.see()
            await here.order(one, 500)
            assert await here.looks_in(5, one) > 0
            assert len(here.freed) == 1

    virtually(main())


def test_one_of_which_libvirt_tells_is_not_asked(virtually: Run) -> None:
    async def main() -> None:
        async with world("one") as (here, (one,)):
            await here.order(one, 492)
            await asyncio.sleep(0.099)
            here.api.event(here.api.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, one, 492 * 1024)
            assert await here.looks_in(5, one) == 0
            assert len(here.freed) == 1

    virtually(main())


@pytest.mark.parametrize("what", ["reset", "end", "crash"])
def test_of_one_that_cannot_answer_no_more_is_asked(virtually: Run, what: str) -> None:
    async def main() -> None:
        async with world("one") as (here, (one,)):
            await here.order(one, 300)
            assert await here.looks_in(0.15, one) == 1
            here.api.refuses = "no libvirtd"
            happens: Callable[..., None] = getattr(here.api, what)
            happens(*([] if what == "crash" else [one]))
            assert await here.looks_in(5, one) == 0
            assert not here.freed

    virtually(main())


def test_no_more_than_four_are_followed_at_once(virtually: Run) -> None:
    async def main() -> None:
        async with world(*"abcdef") as (here, domains):
            await asyncio.gather(*(here.order(domain, 412) for domain in domains))
            await asyncio.sleep(5)
            assert sorted(bool(domain.looks) for domain in domains) == [False] * 2 + [True] * 4
            assert len(here.freed) == 4
            await here.see()
            await here.order(domains[-1], 312)
            assert await here.looks_in(5, domains[-1]) > 0, "there is room again"

    virtually(main())
