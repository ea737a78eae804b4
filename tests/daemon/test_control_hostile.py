"""Whatever a client sends or leaves undone: no traceback, bounded memory, and the next one is served."""

import asyncio
import contextlib
import logging
import tracemalloc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoballoon.core.units import MIB
from autoballoon.daemon.control import IDLE_S, LONGEST_LINE, MOST_CLIENTS, MOST_WAITING, Board, ControlServer
from autoballoon.daemon.lock import ControlSocket
from autoballoon.daemon.protocol import Args, Refused, Verb
from autoballoon.guests.fake import FakeGuest
from tests.daemon.test_control import Client, Served, served
from tests.daemon.test_loop import World

Run = Callable[[Coroutine[Any, Any, Any]], Any]

WORDS = st.sampled_from(
    (
        *("status", "explain", "hold", "unhold", "set", "room", "ping", "guest", "size", "for", "timeout_s"),
        *("since_s", "floor", "ceiling", "shares", "web-0", "*", "/fake/web-0", "50%", "512MiB", "0", ""),
    )
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)
REQUESTS = st.fixed_dictionaries(
    {
        "v": st.just(1) | VALUES,
        "id": st.integers(0, 9) | VALUES,
        "do": WORDS.filter(lambda word: word != "watch") | VALUES,
        "args": st.dictionaries(WORDS, VALUES, max_size=4) | VALUES,
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(REQUESTS, min_size=1, max_size=6))
def test_no_request_is_a_traceback_and_the_daemon_goes_on(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture, requests: list[Any]
) -> None:
    async def main() -> None:
        async with World(tmp_path, 1500, FakeGuest("web-0"), FakeGuest("web-1")) as world:
            await asyncio.sleep(1)
            reader, writer = await asyncio.open_unix_connection(world.config.socket, limit=1 << 24)
            for request in requests:
                writer.write(msgspec.json.encode(request) + b"\n")
            for _ in requests:
                async with asyncio.timeout(3700):  # the longest wait for room
                    reply = msgspec.json.decode(await reader.readline())
                assert reply["ok"] or (reply["error"]["says"] and "\n" not in reply["error"]["says"])
            writer.close()
            ticks = world.daemon._ticks
            await asyncio.sleep(3.5)
            assert world.daemon._ticks >= ticks + 3
            assert (await world.status()).daemon.tick.number
        assert not world.running.cancelled()
        world.running.result()

    virtually(main())
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


def test_a_flood_of_orders_is_bounded(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 1500, FakeGuest("web-0")) as world:
            await asyncio.sleep(1)
            reader, writer = await asyncio.open_unix_connection(world.config.socket)
            room = msgspec.json.encode(
                {"v": 1, "id": 1, "do": "room", "args": {"size": 1300 * MIB, "timeout_s": 3600}}
            )
            for _ in range(50):
                writer.write(room + b"\n")
            codes = [
                msgspec.json.decode(await reader.readline())["error"]["code"]
                for _ in range(50 - MOST_WAITING)
            ]
            assert set(codes) == {"busy"}
            await asyncio.sleep(2)
            assert (await world.status()).daemon.account.promised == MOST_WAITING * 1300 * MIB
            writer.close()
            await asyncio.sleep(2)
            assert (await world.status()).daemon.account.promised == 0

    virtually(main())


def test_lines_and_silent_clients_take_bounded_memory(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with served(tmp_path) as here:
            tracemalloc.start()
            try:
                clients = [await here.client() for _ in range(MOST_CLIENTS)]
                for client in clients:
                    client.writer.transport.set_write_buffer_limits(0)
                    client.writer.write(b"x" * (LONGEST_LINE - 1))  # and no end of line
                sent = sum(client.writer.transport.get_write_buffer_size() for client in clients)
                for _ in range(2000):
                    await asyncio.sleep(0)
                held, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert held < 3 * MOST_CLIENTS * LONGEST_LINE + sent
            await asyncio.sleep(IDLE_S + 1)
            new = await here.client()  # a silent one has to go for it
            assert (await new.ask("ping"))["ok"]

    virtually(main())


def test_who_watches_or_waits_is_not_sent_away_for_being_quiet(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with served(tmp_path) as here:
            watchers = [await here.client() for _ in range(MOST_CLIENTS)]
            for client in watchers:
                client.send({"v": 1, "id": 1, "do": "watch"})
            await asyncio.sleep(10 * IDLE_S)
            late = await here.client()
            assert (await late.hear())["error"]["code"] == "busy"
            here.board.put(lambda: b"1")
            for client in watchers:
                assert (await client.hear())["data"] == 1

    virtually(main())


async def with_verb(folder: Path, verb: Verb, then: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    control = ControlSocket(folder / "control.sock")
    server = ControlServer(Board(), {"slow": verb})
    await server.start(control.listener)
    here = Served(control.path)
    try:
        await then(await here.client())
    finally:
        for client in here.clients:
            client.writer.close()
        await server.close()
        control.close()


def test_an_answer_that_takes_time_holds_up_no_other_and_may_be_a_refusal(
    tmp_path: Path, virtually: Run
) -> None:
    async def slow(args: Args) -> object:
        await asyncio.sleep(60)
        raise Refused("no-room", "it took too long")

    async def then(client: Client) -> None:
        client.send({"v": 1, "id": "slow", "do": "slow"})
        assert (await client.ask("ping", id="quick"))["id"] == "quick"
        reply = await client.hear()
        assert (reply["id"], reply["error"]["code"]) == ("slow", "no-room")

    virtually(with_verb(tmp_path, Verb(Args, slow), then))


def test_one_that_is_gone_is_waited_for_no_longer(tmp_path: Path, virtually: Run) -> None:
    ended: list[str] = []

    async def slow(args: Args) -> object:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.append("given up")
            raise
        return "never"

    async def then(client: Client) -> None:
        client.send({"v": 1, "id": 1, "do": "slow"})
        await asyncio.sleep(1)
        client.writer.write_eof()  # it sends no more, and still reads
        await asyncio.sleep(5)
        assert ended == []
        client.writer.close()
        await asyncio.sleep(5)
        assert ended == ["given up"]

    virtually(with_verb(tmp_path, Verb(Args, slow), then))


def test_one_that_takes_no_answer_is_let_go(tmp_path: Path, virtually: Run) -> None:
    async def slow(args: Args) -> object:
        await asyncio.sleep(1)
        return "x" * (8 << 20)

    async def then(client: Client) -> None:
        client.reader._limit = 1  # type: ignore[attr-defined]
        for number in range(MOST_WAITING):
            client.send({"v": 1, "id": number, "do": "slow"})
        await asyncio.sleep(60)
        client.reader._limit = 1 << 24  # type: ignore[attr-defined]
        async with asyncio.timeout(60):
            while await client.reader.read(1 << 20):
                pass  # what was on its way, and then the end

    with contextlib.suppress(ConnectionResetError):  # it was aborted, as it should be
        virtually(with_verb(tmp_path, Verb(Args, slow), then))
