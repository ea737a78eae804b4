"""Many commands in one trip: every reply to its command, and no way to hang or to leave an exception behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import ExecInterruptedError

from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.qmp_client import FLOOD_LINES, Client, Command, Unanswered
from tests.guests.fake_qmp import FakeQemu

NAME, STATUS, NONSENSE = Command("query-name"), Command("query-status"), Command("no-such-command")


@pytest.fixture
async def qemu(tmp_path: Path) -> AsyncIterator[FakeQemu]:
    async with FakeQemu(tmp_path / "one.qmp", FakeGuest("one")) as qemu:
        yield qemu


@pytest.fixture
def heard() -> list[str]:
    """The events that have come."""
    return []


@pytest.fixture
async def client(qemu: FakeQemu, heard: list[str]) -> AsyncIterator[Client]:
    """Nothing may be left that asyncio complains of."""
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
    client = Client(1.0, lambda event, data: heard.append(event))
    await client.connect(str(qemu.path))
    yield client
    with contextlib.suppress(EOFError, OSError):
        await client.disconnect()
    await asyncio.sleep(0)
    assert unhandled == []


async def test_each_command_gets_its_own_reply(client: Client, qemu: FakeQemu) -> None:
    name, nonsense, status = await client.trip((NAME, NONSENSE, STATUS), 1.0)
    assert name["return"] == {"name": "one"}
    assert nonsense["error"]["class"] == "CommandNotFound"
    assert status["return"]["status"] == "running"
    assert qemu.commands[1:] == ["query-name", "no-such-command", "query-status"]


async def test_what_was_sent_before_the_pause_comes_first(client: Client) -> None:
    name, status = await client.trip((STATUS,), 1.0, before=(NAME,), pause_s=0.01)
    assert "name" in name["return"] and "status" in status["return"]


async def test_trips_at_the_same_time_do_not_mix(client: Client) -> None:
    trips = [client.trip((NAME, STATUS), 1.0, before=(STATUS,), pause_s=0.002 * n) for n in range(5)]
    for before, name, status in await asyncio.gather(*trips):
        assert "status" in before["return"] and "name" in name["return"] and "status" in status["return"]


async def test_the_command_that_was_not_answered_is_named(client: Client, qemu: FakeQemu) -> None:
    qemu.fault = "silent"
    with pytest.raises(Unanswered, match="query-name"):
        await client.trip((NAME, STATUS), 0.05)


async def test_a_reply_that_comes_too_late_disturbs_nobody(client: Client, qemu: FakeQemu) -> None:
    qemu.slow_s = 0.1
    with pytest.raises(Unanswered):
        await client.trip((NAME,), 0.02)
    qemu.slow_s = 0.0
    (status,) = await client.trip((STATUS,), 1.0)
    assert "status" in status["return"]


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
async def test_a_peer_that_leaves_ends_the_trip(client: Client, qemu: FakeQemu, pause_s: float) -> None:
    qemu.fault = "silent"
    trip = asyncio.create_task(client.trip((NAME,), 5.0, before=(STATUS,), pause_s=pause_s))
    await asyncio.sleep(0.01)
    await qemu.quit()
    with pytest.raises(ExecInterruptedError):
        await trip
    with pytest.raises(ExecInterruptedError):
        await client.trip((NAME,), 5.0)


async def test_events_reach_their_listener_between_replies(
    client: Client, qemu: FakeQemu, heard: list[str]
) -> None:
    qemu.event("RESET")
    await client.trip((NAME,), 1.0)
    qemu.event("SHUTDOWN")
    await client.trip((NAME,), 1.0)
    assert heard == ["RESET", "SHUTDOWN"]


async def test_from_who_floods_little_is_read_and_it_is_still_asked(
    client: Client, qemu: FakeQemu, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    assert client._writer is not None
    transport = client._writer.transport
    assert isinstance(transport, asyncio.ReadTransport)
    pause = transport.pause_reading

    def paused() -> None:
        pauses.append(asyncio.get_running_loop().time())
        pause()

    monkeypatch.setattr(transport, "pause_reading", paused)
    for _ in range(FLOOD_LINES):
        qemu.event("ACPI_DEVICE_OST", info={})
    await client.trip((NAME,), 1.0)
    assert pauses, "one line too many"
    (status,) = await client.trip((STATUS,), 1.0)
    assert "status" in status["return"]
    assert heard == ["ACPI_DEVICE_OST"] * FLOOD_LINES
