"""A day with the verbs, on real guests and the daemon as a user starts it; prints what a user would see."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from autoballoon.core.model import Guest
from autoballoon.core.units import MIB
from autoballoon.lab.host import LabHost
from autoballoon.lab.vm import Vm
from autoballoon.views.status import Status

from .conftest import StartGuest, StartGuests
from .test_daemon_real import Daemon, daemon_on, is_below, is_seen, named, take

pytestmark = pytest.mark.lab


class Shell:
    """Types verbs, and shows what they print."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def __call__(self, *words: str | Path, code: int = 0, socket: bool = True) -> str:
        line = [*map(str, words), *(("--socket", str(self._socket)) if socket else ())]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "autoballoon", *line),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(60):
            told, _ = await process.communicate()
        print(f"$ autoballoon {' '.join(map(str, words))}\n{told.decode()}")
        assert process.returncode == code, told.decode()
        return told.decode()


@contextlib.asynccontextmanager
async def recorded(daemon: Daemon, night: Path) -> AsyncIterator[None]:
    """Meanwhile `record` writes down what happens."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autoballoon", "record", str(night), "--socket", str(daemon.socket)),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        _, said = await process.communicate()
        print(said.decode())
    assert process.returncode == 0


def guest_in(status: Status, name: str) -> Guest:
    found = named(status, name)
    assert found is not None
    return found


async def hold_and_make_room(say: Shell, daemon: Daemon, start_guest: StartGuest) -> None:
    """Held, one keeps what it has while the other gives; the guest that the room is for comes, and it is used."""
    assert "guarantee" in await say("status")
    assert "web: held at" in await say("hold", "web")
    held = guest_in(daemon.seen[-1], "web")
    told = json.loads(await say("room", "300MiB", "--for", "new", "--timeout", "20s", "--json"))
    assert told["got"] == 300 * MIB
    status = await daemon.until("room kept", lambda status: status.daemon.account.promised == 300 * MIB)
    now = guest_in(status, "web")
    assert now.held
    assert now.actual >= held.actual
    assert is_below("db", 512 * MIB)(status)
    assert "guests to come 300 MiB" in await say("status")
    await start_guest("new", workload="eat", memory_mib=256)
    await daemon.until("the room used", lambda status: status.daemon.account.promised == 0)
    await daemon.until("it up", is_seen("new"))
    assert "only " in await say("room", "900MiB", "--timeout", "3s", code=3)


async def set_bounds_and_ask_why(say: Shell, daemon: Daemon, web: Vm) -> None:
    """Bounds until the end; and all that happened is told."""
    assert '[guests."db"]' in await say("set", "db", "floor=300MiB", "shares=2000")
    await say("unhold", "web")
    await take(web, 200)
    bounded = guest_in(await daemon.until("a tick", lambda status: True), "db")
    assert (bounded.floor, bounded.shares) == (300 * MIB, 2000)
    assert "asked for: set db floor=300MiB shares=2000" in await say("explain", "db")
    why = await say("explain", "--since", "10m")
    for says in ("asked for: hold web", "asked for: room 300 MiB for new", "its guest has come"):
        assert says in why
    await say("status")


async def replay_it(say: Shell, night: Path) -> None:
    """The same policy decides nearly the same again; another one does not."""
    replayed = json.loads(await say("replay", night, "--json", socket=False))
    assert replayed["ticks"] > 10
    assert replayed["otherwise"] < replayed["compared"] / 10
    assert "replayed with static" in await say("replay", night, "--policy", "static", socket=False)
    assert "WISH" in await say("plan", "--from", night, "--at", "5s", socket=False)


async def test_a_day_with_the_verbs(
    start_guest: StartGuest, start_guests: StartGuests, lab_host: LabHost, tmp_path: Path
) -> None:
    lab_host.group.limit(1300 * MIB)
    web, _ = await start_guests("web", "db", workload="eat")
    night = tmp_path / "night.rec.gz"
    async with daemon_on(lab_host, tmp_path) as daemon:
        say = Shell(daemon.socket)
        await daemon.until("statistics", is_seen("web", "db"))
        async with recorded(daemon, night):
            await hold_and_make_room(say, daemon, start_guest)
            await set_bounds_and_ask_why(say, daemon, web)
        await replay_it(say, night)
        # A hold outlives the daemon.
        await say("hold", "db")
        assert await daemon.end() == 0
        await daemon.start()
        assert guest_in(await daemon.until("db seen by the next daemon", is_seen("db")), "db").held
        await say("unhold")
