"""A QEMU that stands still for long (SIGSTOP, a host that swaps) is heard again as soon as it goes on."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.hypervisor import sleep_on
from autoballoon.guests.qmp import QmpHypervisor
from tests.guests.fake_qmp import FakeQemu

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Stoppable:
    """Serves one client at a time, from a queue as long as QEMU's; stands still and goes on when told."""

    def __init__(self, path: Path) -> None:
        clock = asyncio.get_running_loop().time
        self.qemu = FakeQemu(path, FakeGuest("one", born_at=clock() - 60), clock)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._serving: asyncio.Task[None] | None = None

    def go(self) -> None:
        self.qemu.fault = None
        self._serving = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        self.qemu.fault = "jammed"
        assert self._serving is not None
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)

    async def end(self) -> None:
        await self.stop()
        await self.qemu.quit()
        self._listener.close()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for task in self.qemu._serving:
            task.cancel()  # the client of the time before has left
        while True:
            client, _ = await loop.sock_accept(self._listener)
            self.qemu.take_in(client)
            await asyncio.sleep(0.01)
            while self.qemu._serving:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("stopped_s", [3.0, 30.0, 500.0])
def test_it_is_heard_as_soon_as_it_goes_on(tmp_path: Path, virtually: Run, stopped_s: float) -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop().time
        world = Stoppable(tmp_path / "one.qmp")
        world.go()
        hypervisor = QmpHypervisor(
            [str(tmp_path / "*.qmp")], verify=lambda path, pid: pid, age_s=lambda pid: 60.0, clock=clock
        )
        await hypervisor.start(sleep_on)
        await asyncio.sleep(2)
        assert not hypervisor.problems()
        await world.stop()
        await asyncio.sleep(stopped_s + 0.3)
        (guest,) = await hypervisor.read()
        assert guest.age_s is not None and guest.age_s >= stopped_s - 1
        if stopped_s > 10:
            (problem,) = hypervisor.problems()
            assert (
                "QEMU is stopped" in problem.says and "its last statistics are kept and age" in problem.says
            )
        world.go()
        went_on = clock()
        while hypervisor.problems() or guest.age_s is None or guest.age_s > 1:
            assert clock() - went_on < 1.0, "it goes on, and is not heard"
            await asyncio.sleep(0.05)
            (guest,) = await hypervisor.read()
        await hypervisor.close()
        await world.end()

    virtually(main())
