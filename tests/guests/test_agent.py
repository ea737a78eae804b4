"""Agents behind real sockets: honest, slow, jammed, half-closed, lying and flooding ones, on virtual time."""

import asyncio
import contextlib
import errno
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoballoon.core.model import Guest
from autoballoon.core.units import GIB, MIB
from autoballoon.guests.agent import MOST_READS, Agents
from autoballoon.guests.agent_line import Allowance, Lines

Run = Callable[[Coroutine[Any, Any, None]], None]


class Peer:
    """What QEMU shows of a guest's port: one socket, one client at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.listener.setblocking(False)
        self.client: socket.socket | None = None
        self.seq = 0

    async def accept(self) -> None:
        self.client, _ = await asyncio.get_running_loop().sock_accept(self.listener)

    async def say(self, why: str = "tick", **fields: object) -> None:
        self.seq += 1
        await self.raw(json.dumps({"v": 1, "seq": self.seq, "why": why, **fields}).encode() + b"\n")

    async def raw(self, sent: bytes) -> None:
        assert self.client is not None
        await asyncio.get_running_loop().sock_sendall(self.client, sent)
        for _ in range(5):
            await asyncio.sleep(0)

    def heard(self) -> list[dict[str, int]]:
        assert self.client is not None
        try:
            return [json.loads(line) for line in self.client.recv(1 << 20).splitlines()]
        except BlockingIOError:
            return []

    def hang_up(self) -> None:
        assert self.client is not None
        self.client.close()

    def close(self) -> None:
        self.listener.close()
        if self.client is not None:
            self.client.close()
        self.path.unlink(missing_ok=True)


def guest(folder: Path, name: str = "web") -> Guest:
    return Guest(key=f"{folder}/{name}.qmp", name=f"the {name}", max=512 * MIB, actual=300 * MIB)


class Scene:
    """One guest, its agent's socket, and the host's side of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.guest = guest(folder)
        self.pressed: list[tuple[str, bool]] = []
        self.peer = Peer(folder / "web.agent")
        self.agents = Agents([f"{folder}/*.agent"], clock=asyncio.get_running_loop().time)
        self.agents.meet([self.guest])

    def press(self, key: str, *, waits: bool) -> None:
        self.pressed.append((key, waits))

    def seen(self) -> Guest:
        return self.agents.fill(self.guest)

    @property
    def status(self) -> Any:
        return self.agents.status([self.guest])["the web"]


@contextlib.asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    made = Scene(folder)
    made.agents.listen(made.press)
    made.agents.start()
    try:
        await made.peer.accept()
        made.seen()
        yield made
    finally:
        await made.agents.close()
        made.peer.close()


def test_what_an_agent_says_is_in_the_guest_until_it_is_old(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            assert one.seen() == one.guest
            await one.peer.say(total=512 * MIB, available=40 * MIB, swap_total=0, swap_used=0, oom_kills=2)
            assert (one.seen().oom_kills, one.seen().swap_total) == (2, 0)
            await asyncio.sleep(4.5)
            assert one.seen().oom_kills == 2
            await asyncio.sleep(1.0)
            assert one.seen() == one.guest, "what is old is unknown"
            assert one.status.age_s == pytest.approx(5.5)

    virtually(main())


def test_pressure_has_the_guest_looked_at_but_not_without_end(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            await one.peer.say(psi_some_s=1.0)
            assert one.pressed == []
            await one.peer.say("pressure", psi_some_s=1.0)
            await one.peer.say("pressure", psi_some_s=1.2)
            assert one.pressed == [(one.guest.key, False), (one.guest.key, True)]
            for _ in range(200):
                await asyncio.sleep(0.02)
                await one.peer.say("pressure")
            assert 30 <= len(one.pressed) <= 50, "four seconds"

    virtually(main())


def test_the_guest_is_told_its_target_when_it_changes(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            one.agents.tell(one.guest, 300 * MIB)
            assert one.peer.heard() == [{"v": 1, "target": 300 * MIB, "max": 512 * MIB}]
            one.agents.tell(one.guest, 300 * MIB)
            assert one.peer.heard() == []
            one.agents.tell(one.guest, 301 * MIB)
            assert [said["target"] for said in one.peer.heard()] == [301 * MIB]
            await one.peer.say()  # an agent that has just started: it counts from 1
            one.agents.tell(one.guest, 301 * MIB)
            assert [said["target"] for said in one.peer.heard()] == [301 * MIB]

    virtually(main())


def test_a_guest_that_does_not_read_costs_no_memory_and_hears_the_newest(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            session, _ = one.agents._voices_of(one.guest)
            assert session is not None
            for size in range(20_000):
                one.agents.tell(one.guest, (1 + size) * 4096)
                assert len(session._unsent) < 100
            heard = one.peer.heard()
            one.agents.tell(one.guest, 77 * MIB)
            one.agents.tell(one.guest, 77 * MIB)
            heard += one.peer.heard()
            assert heard[-1]["target"] == 77 * MIB and len(heard) < 20_000

    virtually(main())


def test_a_flood_is_bounded_counted_and_leaves_others_alone(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            other = Peer(tmp_path / "db.agent")
            await asyncio.sleep(1.1)
            await other.accept()
            line = b'{"v":1,"seq":1,"why":"pressure"}\n'
            flood = asyncio.create_task(one.peer.raw(line * 300_000))
            await asyncio.sleep(3.0)
            assert one.status.lines <= 10 + 10 * 4.5
            assert one.status.dropped > 1000
            assert len(one.pressed) <= 55
            assert not flood.done(), "it waits for the host, not the host for it"
            await other.say(oom_kills=4)
            one.agents.meet([one.guest, guest(tmp_path, "db")])
            assert one.agents.fill(guest(tmp_path, "db")).oom_kills == 4
            flood.cancel()
            other.close()

    virtually(main())


def test_lines_of_nothing_take_no_time(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = 0

    class Counted(Allowance):
        def take(self, now: float) -> bool:
            nonlocal looked_at
            looked_at += 1
            return super().take(now)

    async def main() -> None:
        monkeypatch.setattr("autoballoon.guests.agent.Allowance", Counted)
        async with scene(tmp_path) as one:
            await one.peer.raw(b"\n" * (1 << 18))
            await asyncio.sleep(5.0)
            assert one.status.dropped == 1 << 18
            assert looked_at <= 10 * 10 * 5

    virtually(main())


def test_bytes_that_trickle_in_and_end_no_line_take_no_time(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, reads = Lines.feed, 0

    def counted(lines: Lines, received: bytes) -> list[bytes]:
        nonlocal reads
        reads += 1
        return feed(lines, received)

    async def main() -> None:
        monkeypatch.setattr(Lines, "feed", counted)
        async with scene(tmp_path) as one:
            until = asyncio.get_running_loop().time() + 10.0
            while asyncio.get_running_loop().time() < until:
                await one.peer.raw(b"x")
                await asyncio.sleep(0.001)
            assert 10 * 10 <= reads <= 10 * 1.5 * MOST_READS + MOST_READS
            await one.peer.raw(b"\n")
            await one.peer.say(oom_kills=1)
            await asyncio.sleep(0.5)
            assert one.seen().oom_kills == 1

    virtually(main())


def test_an_honest_agents_lines_are_not_put_off(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            for number in range(100):
                await asyncio.sleep(0.15)
                one.peer.seq += 1
                line = b'{"v":1,"seq":%d,"why":"pressure","oom_kills":%d}\n' % (one.peer.seq, number)
                await one.peer.raw(line[:20])
                await one.peer.raw(line[20:])
                assert one.seen().oom_kills == number

    virtually(main())


def test_a_line_of_ten_mebibytes_is_one_dropped_line(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            await one.peer.raw(b"x" * (10 << 20) + b"\n")
            await one.peer.say(oom_kills=1)
            await asyncio.sleep(0.5)
            assert (one.seen().oom_kills, one.status.lines, one.status.dropped) == (1, 1, 1)

    virtually(main())


@pytest.mark.parametrize(
    "lie", [{"total": GIB}, {"total": 512 * MIB, "available": 513 * MIB}, {"refaults": -1}]
)
def test_lies_are_dropped_and_counted(tmp_path: Path, virtually: Run, lie: dict[str, int]) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            await one.peer.say(oom_kills=1)
            await one.peer.say("pressure", oom_kills=2, **lie)
            assert one.seen().oom_kills == 1
            assert one.status.dropped == 1 and one.pressed == []

    virtually(main())


def test_who_hangs_up_is_connected_to_again(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            await one.peer.say(oom_kills=1)
            one.peer.hang_up()
            one.peer.seq = 0
            await one.peer.accept()
            assert one.seen() == one.guest, "what was said on another connection is not known any more"
            await one.peer.say(oom_kills=3)
            assert one.seen().oom_kills == 3
            assert one.agents.problems() == []

    virtually(main())


def test_who_closes_one_half_is_connected_to_again(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            assert one.peer.client is not None
            half = one.peer.client
            half.shutdown(socket.SHUT_WR)
            await one.peer.accept()
            await one.peer.say(oom_kills=3)
            assert one.seen().oom_kills == 3
            half.close()

    virtually(main())


def test_a_socket_that_goes_and_comes_again_is_found(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            one.peer.close()
            await asyncio.sleep(2.5)
            assert one.agents.status([one.guest]) == {} and one.seen() == one.guest
            one.peer = Peer(tmp_path / "web.agent")
            await one.peer.accept()
            one.seen()
            await one.peer.say(oom_kills=1)
            assert one.seen().oom_kills == 1

    virtually(main())


def test_who_could_not_be_connected_to_for_want_of_files_is_so_later(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            with monkeypatch.context() as patch:
                patch.setattr("socket.socket", no_more)
                one.peer.hang_up()
                await asyncio.sleep(2.5)
                (problem,) = one.agents.problems()
                assert "(Too many open files)" in problem.says
            await one.peer.accept()
            await one.peer.say(oom_kills=3)
            assert one.seen().oom_kills == 3
            assert one.agents.problems() == []

    def no_more(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    virtually(main())


def test_a_line_in_two_parts_is_one_line(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            await one.peer.raw(b'{"v":1,"seq":1,"why":"ti')
            await asyncio.sleep(3)
            await one.peer.raw(b'ck","oom_kills":8}\n')
            assert one.seen().oom_kills == 8

    virtually(main())


def test_an_agent_that_another_has_is_told(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        peer = Peer(tmp_path / "web.agent")
        peer.listener.listen(0)
        others = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for other in others:
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                other.connect(str(peer.path))
        agents = Agents([f"{tmp_path}/*.agent"], clock=asyncio.get_running_loop().time)
        agents.start()
        await asyncio.sleep(0.1)
        assert [one.says for one in agents.problems()] == [
            "has clients waiting already; let autoballoon be the only one"
        ]
        await agents.close()
        peer.close()
        for other in others:
            other.close()

    virtually(main())


def test_agents_are_joined_by_their_sockets_stem_and_folder(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        folders = tmp_path / "a", tmp_path / "b"
        for folder in folders:
            folder.mkdir()
        peers = [Peer(folder / "web.agent") for folder in folders] + [Peer(folders[0] / "db.agent")]
        agents = Agents([f"{tmp_path}/*/*.agent"], clock=asyncio.get_running_loop().time)
        agents.start()
        for number, peer in enumerate(peers):
            await peer.accept()
            await peer.say(oom_kills=number)
        domain = msgspec.structs.replace(guest(tmp_path), key="qemu:///system#1", name="db")
        met = [*(guest(folder) for folder in folders), guest(tmp_path), domain]
        agents.meet(met)
        assert [agents.fill(one).oom_kills for one in met] == [0, 1, None, 2]
        met[-1] = guest(tmp_path, "db")
        agents.meet(met)
        assert [agents.fill(one).oom_kills for one in met] == [0, 1, None, 2]
        await agents.close()
        for peer in peers:
            peer.close()

    virtually(main())


def test_no_agent_speaks_for_two_guests(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        here, there = tmp_path / "here", tmp_path / "there"
        for folder in (here, there):
            folder.mkdir()
        async with scene(here) as one:
            await one.peer.say("pressure", oom_kills=7)
            ours, other = one.guest, guest(there)
            assert [key for key, _ in one.pressed] == [ours.key]
            one.agents.meet([ours, other])
            assert [one.agents.fill(met).oom_kills for met in (other, ours, other)] == [None, 7, None]
            one.agents.tell(ours, 300 * MIB)
            one.agents.tell(other, 200 * MIB)
            assert [said["target"] for said in one.peer.heard()] == [300 * MIB]
            domains = [
                msgspec.structs.replace(ours, key=f"qemu:///{which}#1", name="web")
                for which in ("system", "session")
            ]
            one.agents.meet(domains)
            assert [one.agents.fill(met).oom_kills for met in domains] == [None, None], "which of the two?"
            await one.peer.say("pressure", oom_kills=8)
            assert [key for key, _ in one.pressed] == [ours.key], "nobody's now"
            one.agents.meet(domains[1:])
            assert one.agents.fill(domains[1]).oom_kills == 8

    virtually(main())


def test_another_managers_socket_that_comes_later_is_told_and_left_alone(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        agents = Agents(
            [f"{tmp_path}/*.agent"],
            clock=asyncio.get_running_loop().time,
            refuse=lambda path: "is another's" if "theirs" in path else None,
        )
        agents.start()
        peers = [Peer(tmp_path / f"{name}.agent") for name in ("ours", "theirs")]
        await asyncio.sleep(2.5)
        await asyncio.wait_for(peers[0].accept(), 1.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peers[1].accept(), 5.0)
        assert [(Path(one.where).stem, one.says) for one in agents.problems()] == [("theirs", "is another's")]
        await agents.close()
        for peer in peers:
            peer.close()

    virtually(main())


def test_of_what_lay_there_while_we_stood_still_the_newest_is_believed(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            lines = [
                json.dumps({"v": 1, "seq": seq, "why": "tick", "total": 512 * MIB, "oom_kills": seq})
                for seq in range(1, 61)
            ]
            await one.peer.raw("".join(f"{line}\n" for line in lines).encode())
            assert one.agents.fill(one.guest).oom_kills == 60

    virtually(main())


def test_what_does_not_suit_a_guest_any_more_is_not_believed(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with scene(tmp_path) as one:
            await one.peer.say(total=512 * MIB, oom_kills=1)
            unplugged = msgspec.structs.replace(one.guest, max=256 * MIB, actual=256 * MIB)
            assert one.agents.fill(unplugged) == unplugged

    virtually(main())
