"""The control protocol against clients of all kinds, on real sockets and virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoballoon.daemon.control import LONGEST_LINE, MOST_CLIENTS, Board, ControlServer
from autoballoon.daemon.lock import ControlSocket

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, request: dict[str, Any] | bytes) -> None:
        line = request if isinstance(request, bytes) else msgspec.json.encode(request)
        self.writer.write(line + b"\n")

    async def hear(self) -> Any:
        line = await self.reader.readline()
        assert line.endswith(b"\n"), f"hung up after {line!r}"
        return msgspec.json.decode(line)

    async def ask(self, do: str, **fields: Any) -> Any:
        self.send({"v": 1, "id": 7, "do": do, "args": {}} | fields)
        return await self.hear()


class Served:
    """A server on a socket of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.board = Board()
        self.clients: list[Client] = []

    async def client(self, limit: int = 1 << 20) -> Client:
        client = Client(*await asyncio.open_unix_connection(self.path, limit=limit))
        self.clients.append(client)
        return client


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    control = ControlSocket(folder / "control.sock")
    here = Served(control.path)
    server = ControlServer(here.board)
    await server.start(control.listener)
    try:
        yield here
    finally:
        for client in here.clients:
            client.writer.close()
        await server.close()
        control.close()


def test_the_status_is_what_was_put_last(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with served(tmp_path) as here:
            client = await here.client()
            assert (await client.ask("status"))["error"]["code"] == "not-yet"
            here.board.put(lambda: b'{"tick":1}')
            here.board.put(lambda: b'{"tick":2}')
            assert await client.ask("status") == {"v": 1, "id": 7, "ok": True, "data": {"tick": 2}}
            assert (await client.ask("ping", id="a"))["id"] == "a"
            assert "version" in (await client.ask("version"))["data"]

    virtually(main())


def test_a_watch_gets_one_status_per_tick(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with served(tmp_path) as here:
            client = await here.client()
            client.send({"v": 1, "id": 3, "do": "watch"})
            for tick in range(5):
                await asyncio.sleep(1)
                here.board.put((b"%d" % tick).__bytes__)
                assert await client.hear() == {"v": 1, "id": 3, "ok": True, "data": tick}
            # The connection still answers, and refuses a second watch.
            assert (await client.ask("ping"))["ok"]
            assert (await client.ask("watch"))["error"]["code"] == "busy"

    virtually(main())


def test_a_slow_watcher_loses_ticks_and_delays_nobody(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with served(tmp_path) as here:
            slow = await here.client(limit=1 << 16)
            slow.send({"v": 1, "id": 1, "do": "watch"})
            quick = await here.client()
            quick.send({"v": 1, "id": 1, "do": "watch"})
            await asyncio.sleep(1)
            padding = b"x" * 100_000
            for tick in range(100):
                here.board.put((b'{"tick":%d,"padding":"%b"}' % (tick, padding)).__bytes__)
                assert (await quick.hear())["data"]["tick"] == tick
            slow.reader._limit = 1 << 20  # type: ignore[attr-defined]  # only now it begins to read
            heard = [(await slow.hear())["data"]["tick"]]
            while heard[-1] < 99:
                here.board.put(lambda: b'{"tick":99}')
                heard.append((await slow.hear())["data"]["tick"])
            assert heard == sorted(heard)
            assert len(heard) < 50

    virtually(main())


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"hello", "bad-json"),
        (b"", "bad-json"),
        (b"\xff\xfe", "bad-json"),
        (b"[" * 100_000, "bad-json"),
        (b"[1]", "bad-request"),
        (b'{"v":2,"id":1,"do":"status"}', "bad-version"),
        (b'{"id":1,"do":"status"}', "bad-version"),
        (b'{"v":1,"do":"status"}', "bad-request"),
        (b'{"v":1,"id":-1,"do":"status"}', "bad-request"),
        (b'{"v":1,"id":1,"do":"status","colour":1}', "bad-request"),
        (b'{"v":1,"id":1,"do":["status"]}', "bad-request"),
        (b'{"v":1,"id":1,"do":"dance"}', "unknown-verb"),
        (b'{"v":1,"id":1,"do":"status","args":{"x":1}}', "bad-args"),
        (b'{"v":1,"id":1' + b"0" * 5000 + b',"do":"status"}', "bad-json"),
    ],
)
def test_a_mistake_is_answered_and_the_connection_stays(
    tmp_path: Path, virtually: Run, line: bytes, code: str
) -> None:
    async def main() -> None:
        async with served(tmp_path) as here:
            client = await here.client()
            client.send(line)
            answer = await client.hear()
            assert not answer["ok"]
            assert answer["error"]["code"] == code
            assert answer["error"]["says"]
            assert (await client.ask("ping"))["ok"]

    virtually(main())


def test_a_line_without_an_end_is_cut_off(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with served(tmp_path) as here:
            client = await here.client()
            client.writer.write(b"x" * (3 * LONGEST_LINE))
            assert (await client.hear())["error"]["code"] == "too-long"
            with contextlib.suppress(ConnectionResetError):  # not all that was sent had been read
                assert await client.reader.read() == b""

    virtually(main())


def test_a_crowd_is_turned_away_and_makes_room_when_it_leaves(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with served(tmp_path) as here:
            crowd = [await here.client() for _ in range(MOST_CLIENTS)]
            for client in crowd:
                assert (await client.ask("ping"))["ok"]
            late = await here.client()
            assert (await late.hear())["error"]["code"] == "busy"
            crowd[0].writer.close()
            await asyncio.sleep(1)
            assert (await (await here.client()).ask("ping"))["ok"]

    virtually(main())


def test_who_takes_no_reply_is_let_go(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with served(tmp_path) as here:
            here.board.put(lambda: b'"%b"' % (b"x" * 1_000_000))
            deaf = await here.client(limit=1)
            for _ in range(20):
                deaf.send({"v": 1, "id": 1, "do": "status"})
            await asyncio.sleep(60)
            crowd = [await here.client() for _ in range(MOST_CLIENTS)]
            for client in crowd:
                assert (await client.ask("ping"))["ok"]  # the deaf one holds no place

    virtually(main())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.binary(max_size=80).filter(lambda line: b"\n" not in line), min_size=1, max_size=5))
def test_no_garbage_stops_the_server(tmp_path: Path, virtually: Run, lines: list[bytes]) -> None:
    async def main() -> None:
        async with served(tmp_path) as here:
            client = await here.client()
            for line in lines:
                client.send(line)
                assert not (await client.hear())["ok"]
            assert (await client.ask("ping"))["ok"]

    virtually(main())
