"""Reading a guest through its qemu-guest-agent: honest ones, forbidding ones, and those that are something else."""

import asyncio
import base64
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from autoballoon.core.model import Guest
from autoballoon.core.units import KIB, MIB
from autoballoon.guests import qga
from autoballoon.guests.agent import Agents
from autoballoon.guests.qga import FAILURES, LONGEST, Qga, Unfit, read_files
from autoballoon.guests.qga_files import MEMINFO, PRESSURE, SWAPS, VMSTAT, word_of

PROC = {
    MEMINFO: b"MemTotal:         482120 kB\nMemFree: 1000 kB\nMemAvailable:   40000 kB\nSwapTotal: 204796 kB\n",
    VMSTAT: b"nr_free_pages 7\nallocstall_dma 1\nallocstall_normal 4\nworkingset_refault_anon 2\n"
    b"workingset_refault_file 40\noom_kill 3\noom_kill_other 9\n",
    PRESSURE: b"some avg10=0.00 avg60=1.00 avg300=0.10 total=2500000\n"
    b"full avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n",
    SWAPS: b"Filename Type Size Used Priority\n/dev/vdb partition 102396 2048 -2\n/dev/zram0 partition 102400 99 100\n",
}  # fmt: skip


class Server:
    """A qemu-guest-agent, at the other end of a socket; `answer` may be replaced."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[dict[str, Any]] = []
        self.open: dict[int, str] = {}
        self.opened = 0
        self.greeting = b""
        self.visits = 0
        self.answer: Callable[[dict[str, Any]], bytes] = self.honest

    def honest(self, request: dict[str, Any]) -> bytes:
        arguments = request["arguments"]
        match request["execute"]:
            case "guest-sync-delimited":
                return b"\xff" + says(arguments["id"])
            case "guest-file-open" if arguments["path"] in self.files:
                self.opened += 1
                self.open[self.opened] = arguments["path"]
                return says(self.opened)
            case "guest-file-read" if arguments["handle"] in self.open:
                content = self.files[self.open[arguments["handle"]]][: arguments["count"]]
                return says(
                    {"count": len(content), "buf-b64": base64.b64encode(content).decode(), "eof": True}
                )
            case "guest-file-close":
                del self.open[arguments["handle"]]
                return says({})
        return b'{"error": {"class": "GenericError", "desc": "failed"}}\n'

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.write(self.greeting)
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                request = json.loads(line.rpartition(b"\xff")[2])
                self.asked.append(request)
                writer.write(self.answer(request))
        writer.close()


def says(result: object) -> bytes:
    return json.dumps({"return": result}).encode() + b"\n"


@contextlib.asynccontextmanager
async def serving(folder: Path, files: dict[str, bytes] = PROC) -> AsyncIterator[tuple[Server, str]]:
    server, path = Server(files), str(folder / "web.qga")
    async with await asyncio.start_unix_server(server.serve, path):
        yield server, path


def guest(folder: Path) -> Guest:
    return Guest(key=f"{folder}/web.qmp", name="web", max=512 * MIB, actual=300 * MIB)


async def test_a_guests_files_are_read_and_closed_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        assert await read_files(path) == PROC
        assert server.open == {}


async def test_lines_of_nothing_take_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spend, spent = qga._Talk._spend, 0

    def counted(talk: qga._Talk, cost: int) -> None:
        nonlocal spent
        spent += 1
        spend(talk, cost)

    monkeypatch.setattr(qga._Talk, "_spend", counted)
    async with serving(tmp_path) as (server, path):
        server.greeting = b"\n" * LONGEST
        with pytest.raises(Unfit):
            await read_files(path)
        assert spent <= 300


async def test_bytes_that_come_one_by_one_are_not_waited_for(tmp_path: Path) -> None:
    sent = 0

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readline()
        with contextlib.suppress(ConnectionError):
            while sent < 10_000:
                writer.write(b"x")
                await writer.drain()
                sent += 1
                await asyncio.sleep(0)
        writer.close()

    path = str(tmp_path / "web.qga")
    async with await asyncio.start_unix_server(trickle, path):
        with pytest.raises(Unfit):
            await read_files(path)
    assert sent < 1000


async def test_one_that_lets_some_files_be_read_has_none_left_open(tmp_path: Path) -> None:
    async with serving(tmp_path, {path: text for path, text in PROC.items() if path != MEMINFO}) as (
        server,
        path,
    ):
        with pytest.raises(qga._Refused):
            await read_files(path)
        assert server.open == {}


async def test_a_reading_that_is_given_up_leaves_one_file_open_at_most(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        asked: list[str] = []

        def stuck(request: dict[str, Any]) -> bytes:
            """It carries out what it is asked, and its answers do not come any more."""
            asked.append(request["execute"])
            answer = server.honest(request)
            return answer if len(asked) <= answered else b""

        server.answer = stuck
        answered = 0
        while answered < 3 * len(PROC):
            answered += 1
            asked.clear()
            server.open.clear()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read_files(path), 0.02)
            assert len(server.open) <= 1


def test_files_are_made_into_what_an_agent_would_say() -> None:
    word = word_of(PROC, 1)
    assert word is not None
    assert (word.total, word.available) == (482120 * KIB, 40000 * KIB)
    assert (word.swap_total, word.swap_used) == (102396 * KIB, 2048 * KIB), "zram is no swap"
    assert (word.refaults, word.alloc_stalls, word.oom_kills) == (40, 5, 3)
    assert (word.psi_some_s, word.psi_full_s) == (2.5, 0.5)


def test_what_a_kernel_does_not_tell_is_unknown_and_what_no_kernel_tells_is_no_word() -> None:
    word = word_of({MEMINFO: b"MemTotal: 1000 kB\nSwapTotal: 0 kB\n"}, 1)
    assert word is not None
    assert (word.available, word.refaults, word.psi_some_s, word.oom_kills) == (None, None, None, None)
    assert (word.swap_total, word.swap_used) == (0, 0)
    unlisted = word_of({MEMINFO: PROC[MEMINFO]}, 1)
    assert unlisted is not None and unlisted.swap_total is None, "there is some, nobody knows where"
    older = word_of({MEMINFO: PROC[MEMINFO], VMSTAT: b"allocstall 3\nworkingset_refault 12\n"}, 1)
    assert older is not None and (older.refaults, older.alloc_stalls) == (12, 3)
    assert word_of({}, 1) is None
    assert word_of({MEMINFO: b"MemTotal: lots\n"}, 1) is None
    assert word_of(PROC | {SWAPS: b"head\n/dev/vdb partition 10 20 -2\n"}, 1) is None
    assert word_of(PROC | {MEMINFO: b"MemTotal: 999999999999999999 kB\n"}, 1) is None


async def test_what_an_earlier_client_left_is_passed_over(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        server.greeting = b'{"return": 5}\n{"return": {"buf-b'
        assert (await read_files(path))[MEMINFO] == PROC[MEMINFO]


async def test_files_that_a_guest_lacks_are_left_out(tmp_path: Path) -> None:
    async with serving(tmp_path, {MEMINFO: PROC[MEMINFO]}) as (server, path):
        assert (await read_files(path)).keys() == {MEMINFO}
        assert server.open == {}


def flood(_: object) -> bytes:
    return says("x" * 1000) * (2 * LONGEST // 1000)


@pytest.mark.parametrize(
    "answer",
    [
        flood,
        lambda request: b"\xff" + flood(request),
        lambda request: b"x" * (10 << 20) + b"\n",
        lambda request: b"\xff" + b"[" * 60_000 + b"\n",
        lambda request: b"220 mail.example.org ESMTP\n" * 5000,
        lambda request: b"\xff" + b'{"return": %s}\n' % json.dumps(request["arguments"].get("id", "no")).encode(),
        lambda request: b"\xff" + says(request["arguments"].get("id", {"buf-b64": "no base64!", "count": -1})),
        lambda request: b"\xff" + says(request["arguments"].get("id", 2**80)),
    ],
)  # fmt: skip
def test_what_is_no_qemu_guest_agent_is_given_up(
    answer: Callable[[dict[str, Any]], bytes],
    tmp_path: Path,
    virtually: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    async def main() -> None:
        async with serving(tmp_path) as (server, path):
            server.answer = answer
            with pytest.raises(FAILURES):
                await asyncio.wait_for(read_files(path), 5)

    virtually(main())


async def test_one_that_is_read_again_and_again_is_in_the_guest_until_it_is_old(tmp_path: Path) -> None:
    now = 100.0
    async with serving(tmp_path) as (server, path):
        one = Qga(path, "web", lambda: now, every_s=0.01)
        one.guest = guest(tmp_path)
        task = asyncio.create_task(one.run())
        await until(lambda: one.taken >= 3)
        server.files = PROC | {MEMINFO: b"MemTotal: 99999999 kB\n"}
        await until(lambda: one.dropped > 0)  # more than QEMU gave it
        task.cancel()
        assert one.heard.fill(one.guest, now).oom_kills == 3
        assert one.is_fresh and one.status().through == "qga" and not one.status().is_silent
        now += 16.0
        assert not one.is_fresh and one.status().is_silent
        assert server.visits > 3, "the socket is for others too"


async def test_a_guest_that_is_stopped_or_known_better_is_not_asked(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        one = Qga(path, "web", lambda: 1.0, every_s=0.005)
        task = asyncio.create_task(one.run())
        await asyncio.sleep(0.1)
        one.guest = Guest(key="k", name="web", max=512 * MIB, actual=300 * MIB, running=False)
        await asyncio.sleep(0.1)
        task.cancel()
        assert server.visits == 0


async def test_one_that_forbids_it_is_told_of_and_asked_seldom(tmp_path: Path) -> None:
    async with serving(tmp_path, {}) as (server, path):
        one = Qga(path, "web", lambda: 1.0, every_s=0.01)
        one.guest = guest(tmp_path)
        task = asyncio.create_task(one.run())
        await until(lambda: one.trouble is not None)
        await asyncio.sleep(0.3)
        task.cancel()
        assert one.trouble is not None and "does not let files be read" in one.trouble
        assert server.visits <= 7, "twice as seldom each time"
        assert one.taken == 0


async def test_one_that_never_answers_hurts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qga, "PATIENCE_S", 0.05)
    async with serving(tmp_path) as (server, path):
        server.answer = lambda request: b""
        one = Qga(path, "web", lambda: 1.0, every_s=0.01)
        one.guest = guest(tmp_path)
        task = asyncio.create_task(one.run())
        await until(lambda: server.visits >= 2)
        task.cancel()
        assert (one.taken, one.trouble, one.status().is_silent) == (0, None, True)


async def test_where_our_agent_speaks_the_other_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qga, "EVERY_S", 0.01)
    seen, speaks = guest(tmp_path), True

    async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seq = 0
        while speaks:
            seq += 1
            writer.write(b'{"v":1,"seq":%d,"why":"tick","oom_kills":77}\n' % seq)
            await asyncio.sleep(0.2)
        writer.close()

    now = 0.0
    agents = Agents([f"{tmp_path}/*.agent"], lambda: now, qga=[f"{tmp_path}/*.qga"])
    async with (
        serving(tmp_path) as (server, _),
        await asyncio.start_unix_server(agent, tmp_path / "web.agent"),
    ):
        agents.meet([seen])
        agents.start()
        await until(lambda: agents.fill(seen).oom_kills == 77)
        visits = server.visits
        for _ in range(20):
            agents.fill(seen)
            await asyncio.sleep(0.01)
        assert server.visits <= visits + 1
        assert agents.status([seen])["web"].through == "agent"
        speaks, now = False, 6.0
        await until(lambda: agents.fill(seen).oom_kills == 3)
        assert agents.status([seen])["web"].through == "qga"
        await agents.close()


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not met():  # noqa: ASYNC110 - there is nothing to be woken by
            await asyncio.sleep(0.005)


async def test_a_reading_is_as_old_as_the_question(tmp_path: Path) -> None:
    ticks = itertools.count(100)
    async with serving(tmp_path) as (_, path):
        one = Qga(path, "web", lambda: float(next(ticks)))
        assert await one._read(guest(tmp_path))
        assert one.heard.at == 100.0
