"""What people ask of a running daemon, over its socket, on virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoballoon.core.units import GIB, MIB
from autoballoon.daemon.config import parse
from autoballoon.daemon.rooms import MOST_PROMISES
from autoballoon.guests.fake import FakeGuest
from tests.daemon.test_loop import World

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Asked(Exception):
    """The daemon refused; its code and sentence."""


async def ask(world: World, do: str, **args: Any) -> Any:
    reader, writer = await asyncio.open_unix_connection(world.config.socket, limit=1 << 24)
    try:
        writer.write(msgspec.json.encode({"v": 1, "id": 1, "do": do, "args": args}) + b"\n")
        reply = msgspec.json.decode(await reader.readline())
    finally:
        writer.close()
    if not reply["ok"]:
        raise Asked(reply["error"]["code"], reply["error"]["says"])
    return reply["data"]


def guests(count: int = 4, **fields: Any) -> list[FakeGuest]:
    return [FakeGuest(f"web-{n}", **fields) for n in range(count)]


def test_a_held_guest_is_not_made_smaller_until_it_is_let_go(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 2600, *guests()) as world:
            await asyncio.sleep(2)
            told = await ask(world, "hold", guest="web-1")
            assert told["guests"] == told["held"] == ["web-1"]
            before = world.guests["web-1"].actual
            world.other += 1000 * MIB
            await asyncio.sleep(30)
            assert world.guests["web-1"].actual >= before
            assert world.guests["web-0"].actual < before
            status = await world.status()
            assert [guest.held for guest in status.snapshot.guests] == [False, True, False, False]
            held = next(told for told in status.decisions if told.guest == "web-1")
            assert held.reason == "held"
            assert (await ask(world, "unhold", guest="web-1"))["held"] == []
            world.guests["web-0"].need = 450 * MIB  # somebody has a use for it
            await asyncio.sleep(60)
            assert world.guests["web-1"].actual < before

    virtually(main())


def test_all_are_held_and_those_to_come(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 2600, *guests(2)) as world:
            await asyncio.sleep(2)
            assert (await ask(world, "hold"))["held"] == ["web-0", "web-1"]
            new = FakeGuest("new", pid=200, born_at=world.daemon._bulletin.started - 100)
            world.hypervisor.guests["/fake/new"] = new
            await asyncio.sleep(2)
            assert all(guest.held for guest in (await world.status()).snapshot.guests)
            await ask(world, "unhold", guest="web-0")
            held = {guest.name: guest.held for guest in (await world.status()).snapshot.guests}
            assert held == {"web-0": False, "web-1": True, "new": True}
            await ask(world, "unhold")
            assert not any(guest.held for guest in (await world.status()).snapshot.guests)

    virtually(main())


def test_unhold_takes_back_a_size_that_was_set_by_hand(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 4000, *guests(2)) as world:
            await asyncio.sleep(20)
            one = world.guests["web-0"]
            one.set_target(300 * MIB, asyncio.get_running_loop().time())
            await asyncio.sleep(10)
            told = next(told for told in (await world.status()).decisions if told.guest == "web-0")
            assert told.adopted == 300 * MIB
            await asyncio.sleep(60)
            assert one.actual == 300 * MIB
            answer = await ask(world, "unhold", guest="web-0")
            assert answer["ceilings_taken_back"] == {"web-0": 300 * MIB}
            await asyncio.sleep(60)
            assert one.actual == 512 * MIB

    virtually(main())


def test_bounds_are_set_until_the_end_and_the_lines_to_keep_them_are_a_configuration(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        async with World(tmp_path, 1500, *guests()) as world:
            await asyncio.sleep(2)
            told = await ask(world, "set", guest="web-2", floor="450MiB", shares=4000)
            assert (told["floor"], told["ceiling"], told["shares"]) == (450 * MIB, 512 * MIB, 4000)
            told = await ask(world, "set", guest="web-2", floor="75%")
            config = parse(told["config"])
            assert config.bounds("web-2").within(512 * MIB)[0] == 384 * MIB
            assert config.bounds("web-2").shares == 4000
            assert config.bounds("web-1").shares == 1000
            await asyncio.sleep(30)
            assert world.guests["web-2"].actual >= 384 * MIB
            assert world.guests["web-1"].actual < 384 * MIB
            world.daemon.reload()
            await asyncio.sleep(2)
            (two,) = [guest for guest in (await world.status()).snapshot.guests if guest.name == "web-2"]
            assert (two.floor, two.shares) == (384 * MIB, 4000)

    virtually(main())


@pytest.mark.parametrize(
    ("do", "args", "code", "says"),
    [
        ("hold", {"guest": "nobody"}, "no-guest", "there is no guest 'nobody'"),
        ("hold", {"who": "web-0"}, "bad-args", "hold has no arg 'who'; it takes args guest"),
        ("explain", {"guest": "nobody"}, "no-guest", "there is no guest"),
        ("explain", {"since_s": -1}, "bad-args", "since_s"),
        ("explain", {"since_s": "10m"}, "bad-args", "explain: Expected `float | null`"),
        ("set", {"guest": "web-0"}, "bad-args", "give floor, ceiling or shares"),
        ("set", {"guest": "web-0", "floor": "12"}, "bad-args", "floor"),
        ("set", {"guest": "web-0", "floor": "1GiB"}, "bad-args", "more than its RAM of 512 MiB"),
        ("set", {"guest": "web-0", "ceiling": "10%"}, "bad-args", "its floor of 128 MiB would be above"),
        ("set", {"guest": "web-0", "ceiling": "0%"}, "bad-args", "ceiling must be more than nothing"),
        ("set", {"guest": "web-0", "shares": 0}, "bad-args", "must lie between 1 and 1000000"),
        ("set", {"guest": "web-0", "flor": "1G"}, "bad-args", "no arg 'flor'"),
        ("set", {"floor": "1G"}, "bad-args", "missing required field `guest`"),
        ("room", {"size": 0}, "bad-args", "size must be more than nothing"),
        ("room", {"size": 1 << 60}, "bad-args", "at most 1425 MiB"),
        ("room", {"size": 1, "timeout_s": 1e9}, "bad-args", "timeout_s"),
        ("room", {"size": 1, "for": "a\nb"}, "bad-args", "for must be the name"),
        ("room", {"size": 1, "for": "web-0"}, "runs", "web-0 is there already"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    tmp_path: Path, virtually: Run, do: str, args: dict[str, Any], code: str, says: str
) -> None:
    async def main() -> None:
        async with World(tmp_path, 1500, *guests(1)) as world:
            await asyncio.sleep(1)
            with pytest.raises(Asked) as refused:
                await ask(world, do, **args)
            assert refused.value.args[0] == code
            assert says in refused.value.args[1]
            assert "\n" not in refused.value.args[1]

    virtually(main())


def test_room_is_made_kept_and_used(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 2400, *guests()) as world:
            await asyncio.sleep(30)
            began = asyncio.get_running_loop().time()
            told = await ask(world, "room", **{"size": 700 * MIB, "for": "new", "timeout_s": 30})
            assert told == {"size": 700 * MIB, "got": 700 * MIB, "kept_s": 30}
            assert asyncio.get_running_loop().time() - began < 10
            for _ in range(25):
                await asyncio.sleep(1)
                account = (await world.status()).daemon.account
                assert account.promised == 700 * MIB
                assert account.pool - account.charges >= 700 * MIB
            now = asyncio.get_running_loop().time()
            other = FakeGuest("other", max=16 * MIB, pid=300, born_at=now, need=8 * MIB, cache=0)
            world.hypervisor.guests["/fake/other"] = other
            await asyncio.sleep(1)
            assert (await world.status()).daemon.account.promised == 700 * MIB  # it is not for this one
            world.hypervisor.guests["/fake/new"] = FakeGuest("new", pid=200, born_at=now)
            await asyncio.sleep(1)
            assert (await world.status()).daemon.account.promised == 0
            entries = (await ask(world, "explain"))["entries"]
            assert [one["says"] for one in entries if one["kind"] in ("order", "outcome")] == [
                "room 700 MiB for new", "room 700 MiB: it is there", "room 700 MiB: its guest has come",
            ]  # fmt: skip

    virtually(main())


def test_room_asked_for_twice_for_one_guest_is_made_once(tmp_path: Path, virtually: Run) -> None:
    """By hand, and then by libvirt's hook as the guest starts."""

    async def main() -> None:
        async with World(tmp_path, 2400, *guests()) as world:
            await asyncio.sleep(30)
            for _ in range(2):
                began = asyncio.get_running_loop().time()
                told = await ask(world, "room", **{"size": 700 * MIB, "for": "new", "timeout_s": 30})
            assert told["got"] == 700 * MIB and asyncio.get_running_loop().time() - began < 1
            await ask(world, "room", **{"size": 100 * MIB, "for": "other"})
            await asyncio.sleep(1)
            assert (await world.status()).daemon.account.promised == 800 * MIB

    virtually(main())


def test_room_that_nobody_uses_is_given_back(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 2400, *guests()) as world:
            await asyncio.sleep(2)
            await ask(world, "room", size=500 * MIB, timeout_s=10)
            await asyncio.sleep(11)
            assert (await world.status()).daemon.account.promised == 0

    virtually(main())


def test_room_that_cannot_be_made_says_what_there_is_and_why(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 2400, *guests(need=400 * MIB)) as world:
            await asyncio.sleep(2)
            began = asyncio.get_running_loop().time()
            with pytest.raises(Asked) as refused:
                await ask(world, "room", size=1 * GIB, timeout_s=5)
            assert asyncio.get_running_loop().time() - began == pytest.approx(5, abs=0.3)
            code, says = refused.value.args
            assert code == "no-room"
            assert says.startswith("only ")
            assert "what guests need, with headroom and floors, fills the pool" in says
            await asyncio.sleep(1)
            assert (await world.status()).daemon.account.promised == 0

    virtually(main())


def test_room_is_given_up_when_whoever_asked_goes_away(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 2400, *guests(need=400 * MIB)) as world:
            await asyncio.sleep(2)
            _, writer = await asyncio.open_unix_connection(world.config.socket)
            writer.write(b'{"v":1,"id":1,"do":"room","args":{"size":1073741824,"timeout_s":600}}\n')
            await asyncio.sleep(3)
            assert (await world.status()).daemon.account.promised == GIB
            writer.close()
            await asyncio.sleep(2)
            assert (await world.status()).daemon.account.promised == 0
            told = [entry["says"] for entry in (await ask(world, "explain"))["entries"]]
            assert "room 1024 MiB: given up: whoever asked for it is gone" in told

    virtually(main())


def test_one_that_sends_no_more_but_reads_gets_its_answer(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 2400, *guests()) as world:
            await asyncio.sleep(2)
            reader, writer = await asyncio.open_unix_connection(world.config.socket)
            writer.write(b'{"v":1,"id":"h","do":"hold"}\n{"v":1,"id":"s","do":"status"}\n')
            writer.write_eof()
            ids = [msgspec.json.decode(await reader.readline())["id"] for _ in range(2)]
            assert ids == ["s", "h"]  # one is there at once, for the other there has to be a tick
            assert await reader.read() == b""
            writer.close()

    virtually(main())


def test_a_dry_run_makes_no_room_and_says_so_first(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = World(tmp_path, 2400, *guests())
        world.config = msgspec.structs.replace(world.config, dry_run=True)
        world.daemon.reload()
        async with world:
            await asyncio.sleep(2)
            with pytest.raises(Asked) as refused:
                await ask(world, "room", size=MIB)
            assert refused.value.args[1].startswith("DRY RUN")
            assert (await ask(world, "explain"))["dry_run"] is True

    virtually(main())


def test_explain_tells_what_happened_and_why_nothing_did(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 1500, *guests()) as world:
            await asyncio.sleep(120)
            told = await ask(world, "explain", guest="web-1")
            kinds = {entry["kind"] for entry in told["entries"]}
            assert {"set-target", "stay"} <= kinds
            assert all(entry["says"].startswith("web-1: ") for entry in told["entries"])
            assert max(entry["ticks"] for entry in told["entries"]) > 20
            times = [entry["from_s"] for entry in told["entries"]]
            assert times == sorted(times)
            late = await ask(world, "explain", since_s=5)
            assert {entry["guest"] for entry in late["entries"]} == {f"web-{n}" for n in range(4)}
            assert all(entry["to_s"] >= told["now_s"] - 5 for entry in late["entries"])

    virtually(main())


def test_room_is_kept_for_so_many_guests_and_no_more(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 8000, *guests(1)) as world:
            await asyncio.sleep(2)
            for number in range(MOST_PROMISES):
                await ask(world, "room", **{"size": MIB, "for": f"new-{number}"})
            with pytest.raises(Asked, match="too-many"):
                await ask(world, "room", **{"size": MIB, "for": "one-more"})

    virtually(main())
