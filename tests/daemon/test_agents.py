"""The daemon with agents: pressure brings a tick at once, targets are told, and `status` shows them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from autoballoon.core.units import MIB
from autoballoon.daemon.config import Config
from autoballoon.daemon.parts import Parts
from autoballoon.daemon.watches import VAIN_EVERY_S, VAIN_TICKS
from autoballoon.guests.agent import Agents
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.hypervisor import Wake
from autoballoon.views.agents import AgentStatus, agents_line
from tests.daemon.test_loop import World
from tests.guests.test_agent import Peer

Run = Callable[[Coroutine[Any, Any, None]], None]


class AgentWorld(World):
    """A world whose agents' sockets lie beside the daemon's own; keys of its guests are /fake/NAME."""

    def assemble(self, config: Config, wake: Wake, old: Parts | None) -> Parts:
        parts = super().assemble(config, wake, old)
        globs = [str(Path(config.socket).parent / "*.agent")]
        parts.agents = parts.senses.agents = Agents(globs, asyncio.get_running_loop().time)
        return parts


async def every(seconds: float) -> AsyncIterator[None]:
    while True:
        yield
        await asyncio.sleep(seconds)


def test_pressure_brings_memory_in_a_fraction_of_a_second(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        web, *others = (FakeGuest(name) for name in ("web", "a", "b", "c"))
        peer = Peer(tmp_path / "web.agent")
        async with AgentWorld(tmp_path, 1500, web, *others) as world:
            await peer.accept()
            await asyncio.sleep(60)
            before, number = web.target, (await world.status()).daemon.tick.number
            assert before < 400 * MIB
            async for _ in every(0.01):  # until just after a regular tick
                if (await world.status()).daemon.tick.number > number:
                    break
            web.need, asked = web.actual, web.answers
            began = asyncio.get_running_loop().time()
            await peer.say("pressure")
            assert web.answers > asked, "its statistics were asked for"
            async for _ in every(0.01):
                if web.target != before:
                    break
                assert asyncio.get_running_loop().time() - began < 0.25
            assert (await world.status()).daemon.tick.why == "web says that it runs short"
        peer.close()

    virtually(main())


def test_a_guest_that_cries_for_ever_costs_a_few_ticks(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        peer = Peer(tmp_path / "web.agent")
        async with AgentWorld(tmp_path, 1500, FakeGuest("web")) as world:
            await peer.accept()
            await asyncio.sleep(60)
            before = world.reads
            for _ in range(100):
                await peer.say("pressure")
                await asyncio.sleep(0.1)
            assert world.reads - before <= 12, "it has all that it needs"
            before = world.reads
            for waited in range(100):
                await peer.say("pressure", psi_some_s=waited / 10)
                await asyncio.sleep(0.1)
            # Ten regular ones, and what it causes: without bounds five a second.
            assert 10 + VAIN_TICKS <= world.reads - before <= 10 + VAIN_TICKS + 10 / VAIN_EVERY_S + 2
        peer.close()

    virtually(main())


def test_the_guest_hears_its_target_and_status_tells_of_the_agent(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        web, db = FakeGuest("web", need=100 * MIB), FakeGuest("db")
        peers = [Peer(tmp_path / f"{name}.agent") for name in ("web", "db")]
        async with AgentWorld(tmp_path, 1500, web, db) as world:
            for peer in peers:
                await peer.accept()
            for _ in range(60):
                await peers[0].say(swap_total=64 * MIB, swap_used=MIB)
                await asyncio.sleep(1)
            assert peers[0].heard()[-1] == {"v": 1, "target": web.target, "max": 512 * MIB}
            status = await world.status()
            told = status.daemon.agents
            assert told["web"].lines == 60 and told["db"].age_s is None
            seen = {guest.name: guest for guest in status.snapshot.guests}
            assert (seen["web"].swap_used, seen["db"].swap_used) == (MIB, None)
        for peer in peers:
            peer.close()

    virtually(main())


def test_agents_are_told_of_in_one_line() -> None:
    told = {
        **{f"idle-{n}": AgentStatus(9.0, 1, 0) for n in range(10)},
        "web": AgentStatus(0.5, 10, 3),
        "db": AgentStatus(None, 0, 0),
    }
    assert agents_line(told) == (
        "agents: 1 of 12 speak; silent: db, idle-0, idle-1, idle-2, idle-3, idle-4, idle-5, idle-6 and 3 more; "
        "lines dropped: web 3"
    )
