"""What is made of guests that several hypervisors show, and of what the host tells of them."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from autoballoon.core.model import Host
from autoballoon.core.units import GIB, MIB
from autoballoon.daemon.bounds import Bounds
from autoballoon.daemon.sense import Senses
from autoballoon.guests.fake import FakeGuest, FakeHypervisor
from autoballoon.host.process import ProcessReader

Run = Callable[[Coroutine[Any, Any, None]], None]


class NoProcesses:
    """No process can be seen."""

    def read(self, pid: int, ram: int) -> None: ...

    def cpu_s(self, pid: int) -> None: ...

    def age_s(self, pid: int) -> None: ...

    def identity(self, pid: int) -> None: ...

    async def split_holed(self, pid: int) -> None: ...


class AHost:
    def read(self) -> Host:
        return Host(capacity=GIB, available=GIB)

    def free_now(self) -> int:
        return GIB

    def close(self) -> None: ...


def test_one_process_is_one_guest_of_the_first_hypervisor_that_shows_it(virtually: Run) -> None:
    first = FakeHypervisor(lambda: 0.0, [FakeGuest("domain", pid=7), FakeGuest("unknown")])
    second = FakeHypervisor(
        lambda: 0.0, [FakeGuest("socket", pid=7), FakeGuest("other", pid=8), FakeGuest("unseen")]
    )
    senses = Senses(AHost(), NoProcesses(), (first, second), lambda name: Bounds())

    async def scene() -> None:
        assert [guest.name for guest in await senses.guests()] == ["domain", "unknown", "other", "unseen"]
        assert senses.owner("/fake/domain") is first and senses.owner("/fake/socket") is None
        only = frozenset({"/fake/domain", "/fake/socket"})
        assert [guest.name for guest in await senses.guests(only)] == ["domain"]
        del first.guests["/fake/domain"]
        assert "socket" in [guest.name for guest in await senses.guests()]
        assert senses.owner("/fake/socket") is second

    virtually(scene())


def test_the_size_that_a_guest_is_to_have_is_a_ceiling_beside_the_operators(virtually: Run) -> None:
    class Wanted(FakeHypervisor):
        async def read(self) -> Any:
            return [msgspec.structs.replace(guest, ceiling=300 * MIB) for guest in await super().read()]

    wanted = Wanted(lambda: 0.0, [FakeGuest("one")])
    senses = Senses(AHost(), NoProcesses(), (wanted,), lambda name: Bounds())

    async def scene() -> None:
        (guest,) = await senses.guests()
        assert (guest.floor, guest.ceiling, guest.top) == (128 * MIB, 300 * MIB, 300 * MIB)

    virtually(scene())


def test_channels_that_a_hypervisor_tells_of_are_listened_to(virtually: Run, tmp_path: Path) -> None:
    class Telling(FakeHypervisor):
        def channels(self) -> dict[str, str]:
            return {key: str(tmp_path / "channel") for key in self.guests}

    telling = Telling(lambda: 0.0, [FakeGuest("one")])
    senses = Senses(AHost(), NoProcesses(), (telling,), lambda name: Bounds())

    async def scene() -> None:
        assert senses.agents.status(await senses.guests()).keys() == {"one"}
        telling.guests.clear()
        await senses.guests()
        assert senses.agents.problems() == [] and senses.agents.status([]) == {}
        await senses.agents.close()

    virtually(scene())


def test_a_look_at_all_guests_waits_for_no_smaps(virtually: Run) -> None:
    async def scene() -> None:
        time = asyncio.get_running_loop().time
        comes = asyncio.Event()

        async def threads(call: Callable[..., object], *given: Any) -> object:
            await comes.wait()
            return call(*given)

        captured = Path(__file__).parent.parent / "fixtures/host/qemu"
        guests = [FakeGuest("one", pid=101), FakeGuest("two", pid=102)]
        there = FakeHypervisor(time, guests)
        senses = Senses(AHost(), ProcessReader(captured, time, threads), (there,), lambda name: Bounds())
        began = time()
        first = await senses.snapshot()
        assert time() == began
        assert [guest.overhead for guest in first.guests] == [None, None]
        assert all(guest.resident for guest in first.guests), "what they hold is known all the same"
        comes.set()
        await asyncio.sleep(1)
        assert all(guest.overhead for guest in (await senses.snapshot()).guests)

    virtually(scene())
