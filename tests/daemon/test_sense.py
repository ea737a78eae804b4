"""What is made of guests that several hypervisors show."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from autoballoon.core.model import Host
from autoballoon.core.units import GIB, MIB
from autoballoon.daemon.bounds import Bounds
from autoballoon.daemon.sense import Senses
from autoballoon.guests.fake import FakeGuest, FakeHypervisor

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
