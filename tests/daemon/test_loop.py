"""The daemon's life on virtual time: fake guests on a fake host, the real engine and the real control socket."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoballoon.cli.connect import LONGEST_REPLY
from autoballoon.core.engine import Engine, Rules, State
from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.model import Host, SetTarget, Snapshot
from autoballoon.core.units import MIB
from autoballoon.daemon.bounds import Rule
from autoballoon.daemon.config import Config
from autoballoon.daemon.journal import CLOSE_S as LOG_CLOSE_S
from autoballoon.daemon.loop import Daemon
from autoballoon.daemon.parts import Parts
from autoballoon.daemon.statefile import Saved, SavedGuest, StateFile
from autoballoon.guests.fake import FakeGuest, FakeHypervisor
from autoballoon.guests.hypervisor import Wake
from autoballoon.host.huge import Splits
from autoballoon.policies import policy_named
from autoballoon.views.status import Status, decode

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Held(msgspec.Struct, frozen=True):
    resident: int
    huge: int = 0
    swapped: int = 0
    overhead: int = 30 * MIB


async def nothing() -> None:
    pass


async def at_once(call: Callable[..., Any], *given: Any) -> Any:
    """Instead of a thread, whose work virtual time would not wait for."""
    return call(*given)


class World:
    """A host with guests in it, and a daemon that balances them; `config` is what the daemon will load."""

    def __init__(self, folder: Path, capacity_mib: int, *guests: FakeGuest) -> None:
        self.capacity = capacity_mib * MIB
        self.other = 50 * MIB
        self.broken: Exception | None = None
        self.ran_s = 0.0
        self.config = Config(socket=str(folder / "control.sock"))
        self.hypervisor = FakeHypervisor(asyncio.get_running_loop().time, guests)
        now = asyncio.get_running_loop().time()
        for number, guest in enumerate(guests):
            guest.pid = 100 + number
            guest.born_at = guest._moved_until = now - 100
        self.reads = 0
        self.assembled: list[Parts] = []
        self.another_daemon()

    def another_daemon(self) -> None:
        """The next one, with the same configuration."""
        self.daemon = Daemon(lambda: self.config, self.assemble, at_once)

    def assemble(self, config: Config, wake: Wake, old: Parts | None) -> Parts:
        rules = Rules(reserve=config.reserve, overload=config.overload, dry_run=config.dry_run)
        engine = Engine(rules, policy_named(config.policy))
        parts = Parts(config, engine, self, self, (self.hypervisor,))
        self.assembled.append(parts)
        return parts

    @property
    def guests(self) -> dict[str, FakeGuest]:
        return {guest.name: guest for guest in self.hypervisor.guests.values()}

    # What the senses look at.

    def read(self, pid: int = 0, ram: int = 0) -> Any:
        if pid:
            guest = next(guest for guest in self.hypervisor.guests.values() if guest.pid == pid)
            guest.advance(asyncio.get_running_loop().time())
            return Held(self.held(guest))
        self.reads += 1
        if self.broken is not None:
            raise self.broken
        return Host(capacity=self.capacity, available=self.free_now())

    def held(self, guest: FakeGuest) -> int:
        """What the host holds of its memory: all that it may use."""
        return guest.actual

    async def split_holed(self, pid: int) -> Splits | None:
        return Splits(found=0, cpu_s=0.0)

    def age_s(self, pid: int) -> float:
        return 100.0

    def identity(self, pid: int) -> str | None:
        return f"boot/{pid}/1" if any(guest.pid == pid for guest in self.guests.values()) else None

    def cpu_s(self, pid: int) -> float:
        return self.ran_s

    def free_now(self) -> int:
        now = asyncio.get_running_loop().time()
        for guest in self.guests.values():
            guest.advance(now)
        held = sum(self.held(guest) + 30 * MIB for guest in self.guests.values())
        return max(0, self.capacity - self.other - held)

    def close(self) -> None:
        pass

    # What a test does with it.

    async def __aenter__(self) -> "World":
        self.running = asyncio.create_task(self.daemon.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.daemon.stop()
        if not self.running.done():
            await self.running

    async def killed(self) -> None:
        """The daemon is killed outright: it hands back nothing, and its lock is gone with it."""
        self.running.cancel()
        self.daemon._leave = nothing  # type: ignore[method-assign]
        await asyncio.gather(self.running, return_exceptions=True)

    async def status(self) -> Status:
        # asyncio takes lines of 64 KiB, as many as tell of sixty guests: more where their sockets have long paths.
        reader, writer = await asyncio.open_unix_connection(self.config.socket, limit=LONGEST_REPLY)
        writer.write(b'{"v":1,"id":1,"do":"status"}\n')
        reply = msgspec.json.decode(await reader.readline())
        writer.close()
        assert reply["ok"], reply
        return decode(msgspec.json.encode(reply["data"]))


def test_idle_guests_are_looked_at_less_often_until_the_host_is_short(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 20 * 600, *(FakeGuest(f"web-{n}") for n in range(20))) as world:
            await asyncio.sleep(20)
            assert not world.hypervisor.relaxed  # they are hardly known
            await asyncio.sleep(30)
            assert world.hypervisor.relaxed == set(world.hypervisor.guests)
            world.other += 2000 * MIB
            await asyncio.sleep(1.1)
            assert not world.hypervisor.relaxed

    virtually(main())


def test_a_squeezed_host_takes_what_guests_do_not_need(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4))) as world:
            await asyncio.sleep(30)
            status = await world.status()
            assert status.daemon.account.guarantee
            assert world.free_now() >= status.daemon.account.reserve
            for guest in world.guests.values():
                assert guest.need < guest.actual < guest.max

    virtually(main())


def test_ticks_keep_to_the_grid_of_the_interval(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        began = asyncio.get_running_loop().time()
        async with World(tmp_path, 8000) as world:
            await asyncio.sleep(600.5)
            status = await world.status()
            assert status.daemon.tick.number == 601
            assert status.daemon.tick.why == "interval"
            assert status.daemon.tick.late_s < 0.001
            assert status.daemon.up_s == pytest.approx(asyncio.get_running_loop().time() - began, abs=1)

    virtually(main())


def test_a_stalled_machine_skips_the_ticks_it_missed(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 8000) as world:
            await asyncio.sleep(3.5)
            asyncio.get_running_loop()._now += 7.25  # type: ignore[attr-defined]  # nothing ran meanwhile
            await asyncio.sleep(0.01)
            assert (await world.status()).daemon.tick.late_s == pytest.approx(6.75, abs=0.02)
            ticks = world.reads
            await asyncio.sleep(5)
            assert world.reads - ticks == 5

    virtually(main())


def test_an_event_brings_a_tick_at_once_and_a_flood_of_them_five_a_second(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        async with World(tmp_path, 8000) as world:
            await asyncio.sleep(5.5)
            before = world.reads
            world.hypervisor.happened("web-0 was reset")
            await asyncio.sleep(0.01)
            assert world.reads == before + 1
            assert (await world.status()).daemon.tick.why == "web-0 was reset"
            before = world.reads
            for _ in range(1000):
                world.hypervisor.happened("flood")
                await asyncio.sleep(0.01)
            assert 45 <= world.reads - before <= 60

    virtually(main())


def test_falling_free_memory_brings_a_tick_before_the_reserve_is_touched(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        async with World(tmp_path, 4000) as world:
            await asyncio.sleep(5.05)
            for _ in range(8):  # 400 MiB a tenth of a second: gone before the next tick
                world.other += 400 * MIB
                await asyncio.sleep(0.1)
                if (await world.status()).daemon.tick.why.startswith("free memory"):
                    break
            assert (await world.status()).daemon.tick.why == "free memory falls towards the reserve"
            assert world.free_now() > 200 * MIB

    virtually(main())


def test_a_guest_that_nears_its_edge_is_heard_between_ticks(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4))) as world:
            await asyncio.sleep(30.1)
            world.guests["web-0"].need = 250 * MIB
            began = asyncio.get_running_loop().time()
            while world.guests["web-0"].target < 250 * MIB:  # noqa: ASYNC110 - virtual time costs nothing
                await asyncio.sleep(0.05)
            assert asyncio.get_running_loop().time() - began <= 1.0
            await asyncio.sleep(20)
            assert world.guests["web-0"].actual > 250 * MIB

    virtually(main())


def test_a_daemon_that_does_not_ask_has_what_comes_by_itself(tmp_path: Path, virtually: Run) -> None:
    async def answers_of_one_that_grows(*, asks: bool) -> int:
        world = World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4)))
        world.daemon = Daemon(lambda: world.config, world.assemble, at_once, asks=asks)
        async with world:
            await asyncio.sleep(30.1)
            web = world.guests["web-0"]
            before = web.answers
            for step in range(200):  # 250 MiB, taken at 150 MiB/s again and again
                web.need, world.ran_s = (100 + 15 * min(step % 40, 17)) * MIB, world.ran_s + 0.1
                await asyncio.sleep(0.1)
            return web.answers - before

    async def main() -> None:
        assert await answers_of_one_that_grows(asks=False) <= 21, "one a second"
        assert await answers_of_one_that_grows(asks=True) >= 40, "and more while it nears its edge"

    virtually(main())


def test_leaving_hands_back_what_the_pool_allows(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4)))
        async with world:
            await asyncio.sleep(30)
            world.capacity = 4000 * MIB  # the host has become larger, and the daemon has not seen it yet
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 5
        assert all(guest.target == guest.max for guest in world.guests.values())
        assert world.hypervisor.is_closed

    virtually(main())
    assert list(tmp_path.iterdir()) == []


def test_leaving_is_bounded_when_a_guest_takes_no_orders(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        world = World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4)))

        async def jam(*_: object) -> bool:
            await asyncio.sleep(3600)
            return True

        async with world:
            await asyncio.sleep(30)
            world.capacity = 4000 * MIB
            monkeypatch.setattr(world.hypervisor, "set_target", jam)
            monkeypatch.setattr(world.hypervisor, "close", jam)
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 5

    virtually(main())


def test_leaving_says_to_whom_memory_could_not_be_handed_back_in_time(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        sizes = [512] * 16 + [1024] * 4
        guests = [FakeGuest(f"web-{n}", max=size * MIB) for n, size in enumerate(sizes)]
        world = World(tmp_path, 20 * 300, *guests)
        really, four_at_once = world.hypervisor.set_target, asyncio.Semaphore(4)

        async def slow(key: str, size: int) -> bool:
            async with four_at_once:
                await asyncio.sleep(0.3)
                return await really(key, size)

        async with world:
            await asyncio.sleep(60)
            assert all(guest.target < guest.max for guest in guests)
            monkeypatch.setattr(world.hypervisor, "set_target", slow)
            world.capacity = 20000 * MIB
        full = {guest.name for guest in guests if guest.target == guest.max}
        assert len(full) == 8 and full > {"web-16", "web-17", "web-18", "web-19"}, "most is missing there"
        (told,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
        assert "12 of 20 guests did not say in time that they have their memory back (web-" in told
        assert "and 9 more" in told and not any(f"{name}," in told for name in full)

    virtually(main())


@pytest.mark.parametrize("when", ["in a tick", "in a reload", "at rest"])
def test_leaving_is_in_time_when_nothing_answers_any_more(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async def main() -> None:
        world = World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4)))
        jammed = False

        async def apart(call: Callable[..., Any], *given: Any) -> Any:
            return await jam() if jammed else call(*given)

        async def jam(*_: object, **__: object) -> Any:
            await asyncio.sleep(3600)

        world.daemon = Daemon(lambda: world.config, world.assemble, apart)
        async with world:
            await asyncio.sleep(30.1)
            jammed = True
            for call in ("set_target", "close") if when == "at rest" else ("read", "close"):
                monkeypatch.setattr(world.hypervisor, call, jam)
            monkeypatch.setattr(world.daemon._containment, "lift", jam)
            if when == "in a reload":
                monkeypatch.setattr(Parts, "start", jam)
                world.daemon.reload()
            await asyncio.sleep(0.3 if when == "at rest" else 2)
            world.capacity = 4000 * MIB
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 5 - LOG_CLOSE_S

    virtually(main())


def test_a_disk_that_hangs_keeps_no_memory_from_guests(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4)))
        hangs = False

        async def apart(call: Callable[..., Any], *given: Any) -> Any:
            return await asyncio.sleep(3600) if hangs else call(*given)

        world.daemon = Daemon(lambda: world.config, world.assemble, apart)
        async with world:
            await asyncio.sleep(30)
            hangs = True
            saving = asyncio.create_task(world.daemon._keeper.put(holds=("/fake/web-0",)))
            await asyncio.sleep(2)
            world.capacity = 4000 * MIB
        assert all(guest.target == guest.max for guest in world.guests.values())
        saving.cancel()

    virtually(main())


def test_a_disk_that_hangs_at_the_start_keeps_nobody_from_stopping_it(tmp_path: Path, virtually: Run) -> None:
    kept = StateFile(tmp_path / "control.sock.state.json")
    kept.save(Saved(holds=("/fake/web",)))

    async def main() -> None:
        async def apart(call: Callable[..., Any], *given: Any) -> Any:
            return await asyncio.sleep(3600) if call.__name__ == hangs else call(*given)

        world = World(tmp_path, 1500, FakeGuest("web"))
        for hangs in ("load", "save"):
            if hangs == "save":  # of a guest that has ended nothing is kept, so that the file is written anew
                kept.save(Saved(holds=("/fake/web",), guests=(SavedGuest("/fake/web", "boot/7/1", 7),)))
            world.daemon = Daemon(lambda: world.config, world.assemble, apart)
            async with world:
                await asyncio.sleep(1)
                began = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() - began < 5 - LOG_CLOSE_S
            assert kept.load().holds == ("/fake/web",)

    virtually(main())


def test_a_split_that_hangs_keeps_nothing_from_being_given_back(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4)))
        splits = 0

        async def hangs(pid: int) -> None:
            nonlocal splits
            splits += 1
            await asyncio.sleep(3600)

        world.split_holed = hangs  # type: ignore[method-assign]
        async with world:
            await asyncio.sleep(30)
            assert splits == 1
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 5 - LOG_CLOSE_S
        assert world.hypervisor.is_closed

    virtually(main())


def test_a_guest_that_takes_no_orders_delays_no_other_and_gets_the_newest(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        world = World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4)))
        really = world.hypervisor.set_target
        jammed = asyncio.Event()
        asked: list[int] = []

        async def slow(key: str, size: int) -> bool:
            if key.endswith("web-0"):
                asked.append(size)
                await jammed.wait()
            return await really(key, size)

        monkeypatch.setattr(world.hypervisor, "set_target", slow)
        async with world:
            await asyncio.sleep(20)
            assert len(asked) == 1
            assert all(world.guests[f"web-{n}"].actual < 512 * MIB for n in (1, 2, 3))
            assert (await world.status()).daemon.tick.number >= 20
            jammed.set()
            await asyncio.sleep(0.1)
            assert len(asked) <= 2
            assert world.guests["web-0"].target == asked[-1]

    virtually(main())


def test_a_dry_run_decides_and_moves_nothing(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        world = World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4)))
        world.config = msgspec.structs.replace(world.config, dry_run=True)
        world.daemon = Daemon(lambda: world.config, world.assemble, at_once)
        async with world:
            await asyncio.sleep(10)
            status = await world.status()
            assert status.daemon.dry_run
            assert any(told.kind == "set-target" for told in status.decisions)
        assert world.hypervisor.targets == []

    caplog.set_level(logging.INFO)
    virtually(main())
    assert any(record.message.startswith("DRY RUN: web-0: 512 -> ") for record in caplog.records)


def test_a_good_reload_takes_effect_and_keeps_what_was_learnt(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4))) as world:
            await asyncio.sleep(30)
            learnt = world.daemon._state.tracks["/fake/web-0"].ours
            world.config = msgspec.structs.replace(world.config, interval_s=0.5)
            world.daemon.reload()
            await asyncio.sleep(0.3)
            assert learnt
            assert world.daemon._state.tracks["/fake/web-0"].ours
            assert (await world.status()).daemon.interval_s == 0.5
            assert not world.hypervisor.is_closed

    virtually(main())


@pytest.mark.parametrize(
    ("changes", "whom"),
    [
        ({"rules": (Rule("web-0", {"manage": False}),)}, {"web-0"}),
        ({"qmp": ("/run/elsewhere/*.qmp",)}, {"web-0", "web-1", "web-2", "web-3"}),
        ({"rules": (Rule("web-0", {"manage": False}),), "dry_run": True}, set()),
        ({"interval_s": 0.5}, set()),
    ],
)
def test_whom_a_reload_leaves_alone_is_handed_back_what_is_free(
    tmp_path: Path, virtually: Run, changes: dict[str, Any], whom: set[str]
) -> None:
    async def main() -> None:
        async with World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4))) as world:
            await asyncio.sleep(60)
            before = {name: guest.actual for name, guest in world.guests.items()}
            assert all(size < 512 * MIB for size in before.values())
            world.capacity += 400 * MIB  # nobody is given of it yet: it may be wanted again
            world.config = msgspec.structs.replace(world.config, **changes)
            world.daemon.reload()
            await asyncio.sleep(0.9)
            grown = {name for name, guest in world.guests.items() if guest.actual > before[name]}
            assert grown == whom
            assert world.free_now() >= (await world.status()).daemon.account.cushion
            world.other += 400 * MIB
            sizes = {name: guest.actual for name, guest in world.guests.items()}
            await asyncio.sleep(60)
            if whom == {"web-0"}:
                assert world.guests["web-0"].actual == sizes["web-0"], "it is left alone"

    virtually(main())


@pytest.mark.parametrize("fault", ["file", "socket", "mistake", "parts"])
def test_a_bad_reload_is_refused_whole(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    async def main() -> None:
        async with World(tmp_path, 8000) as world:
            await asyncio.sleep(3)

            def load() -> Config:
                if fault == "file":
                    raise BadInput("here.toml: [host] has no key 'reserv'")
                if fault == "mistake":
                    raise ZeroDivisionError("a mistake of ours")
                if fault == "parts":
                    return Config(socket=world.config.socket, interval_s=0.5, policy="none such")
                return Config(socket=str(tmp_path / "another.sock"), interval_s=0.5)

            world.daemon._load = load
            world.daemon.reload()
            await asyncio.sleep(3)
            daemon = (await world.status()).daemon
            assert daemon.interval_s == 1.0
            assert len(world.assembled) == 1
            (trouble,) = daemon.problems
            assert trouble.where == "reload" and "the old one stays" in trouble.says
            world.daemon._load = lambda: world.config
            world.daemon.reload()
            await asyncio.sleep(2)
            assert not (await world.status()).daemon.problems

    virtually(main())
    refusals = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(refusals) == 1
    assert "the old one stays" in refusals[0]


def test_a_reload_whose_new_parts_cannot_start_is_refused(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with World(tmp_path, 8000, FakeGuest("web")) as world:
            await asyncio.sleep(3)

            async def fail(*_: object, **__: object) -> None:
                raise CouldNot("libvirt cannot be listened to")

            with monkeypatch.context() as patch:
                patch.setattr(Parts, "start", fail)
                world.config = msgspec.structs.replace(world.config, interval_s=0.5)
                world.daemon.reload()
                await asyncio.sleep(2)
            status = await world.status()
            assert status.daemon.interval_s == 1.0 and len(status.snapshot.guests) == 1
            assert not world.hypervisor.is_closed
            world.daemon.reload()
            await asyncio.sleep(2)
            assert (await world.status()).daemon.interval_s == 0.5

    virtually(main())
    (refusal,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert "the old one stays: libvirt cannot be listened to" in refusal


def test_a_reload_whose_old_parts_cannot_be_let_go_takes_effect(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with World(tmp_path, 8000) as world:
            await asyncio.sleep(3)

            def fail() -> None:
                raise OSError(5, "Input/output error")

            monkeypatch.setattr(world, "close", fail)
            world.config = msgspec.structs.replace(world.config, interval_s=0.5)
            world.daemon.reload()
            await asyncio.sleep(1)
            assert (await world.status()).daemon.interval_s == 0.5

    virtually(main())


@pytest.mark.parametrize("when", ["at the start", "in a reload"])
def test_a_host_that_cannot_be_read_once_is_one_failed_tick(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Its group is removed, and made again a moment later."""

    async def main() -> None:
        world = World(tmp_path, 8000, FakeGuest("web"))
        really = Parts.start

        async def gone_since(parts: Parts, *given: Any, **named: Any) -> None:
            await really(parts, *given, **named)
            world.broken = CouldNot("the control group is gone; make it again")

        if when == "at the start":
            monkeypatch.setattr(Parts, "start", gone_since)
        async with world:
            if when == "in a reload":
                await asyncio.sleep(3)
                monkeypatch.setattr(Parts, "start", gone_since)
                world.config = msgspec.structs.replace(world.config, interval_s=0.5)
                world.daemon.reload()
            await asyncio.sleep(0.4)
            assert world.broken is not None and not world.running.done()
            world.broken = None
            await asyncio.sleep(1)
            daemon = (await world.status()).daemon
            assert daemon.interval_s == world.config.interval_s and not daemon.problems

    virtually(main())


def test_a_tick_that_fails_holds_everything_and_the_next_goes_on(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with World(tmp_path, 8000) as world:
            await asyncio.sleep(3.5)
            world.broken = CouldNot("/proc/meminfo: cannot be read")
            await asyncio.sleep(9)
            world.broken = None
            await asyncio.sleep(1)
            assert (await world.status()).daemon.tick.number == 14

    virtually(main())
    failures = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert failures == ["this tick failed and everything stays as it is: /proc/meminfo: cannot be read"] * 9


def test_a_tick_that_cannot_be_told_of_is_one_that_failed(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with World(tmp_path, 8000) as world:
            await asyncio.sleep(3.5)
            tell = world.daemon._bulletin.tell

            def broken(*_: object) -> None:
                raise ZeroDivisionError("a mistake of ours")

            world.daemon._bulletin.tell = broken  # type: ignore[assignment, method-assign]
            await asyncio.sleep(3)
            world.daemon._bulletin.tell = tell  # type: ignore[method-assign]
            await asyncio.sleep(1)
            assert (await world.status()).daemon.tick.number == 8

    virtually(main())
    assert caplog.text.count("this tick failed") == 3


def test_ten_failures_in_a_row_end_the_daemon(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = World(tmp_path, 8000)
        world.broken = None
        async with world:
            await asyncio.sleep(3.5)
            world.broken = ZeroDivisionError("a mistake of ours")
            with pytest.raises(CouldNot, match=r"10 ticks in a row failed, .*a mistake of ours"):
                await world.running

    virtually(main())
    assert list(tmp_path.iterdir()) == []


def test_a_second_daemon_is_refused_and_the_first_goes_on(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with World(tmp_path, 8000) as first:
            await asyncio.sleep(3)
            second = World(tmp_path, 8000)
            with pytest.raises(CouldNot, match="another autoballoon daemon"):
                await second.daemon.run()
            await asyncio.sleep(3.5)
            assert (await first.status()).daemon.tick.number == 7

    virtually(main())


def test_stopping_while_hypervisors_are_still_being_tried_is_quick(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        world = World(tmp_path, 8000)

        async def forever(_: Wake) -> None:
            await asyncio.sleep(3600)

        monkeypatch.setattr(world.hypervisor, "start", forever)
        async with world:
            await asyncio.sleep(1)
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 5

    virtually(main())


def test_guests_of_one_name_are_told_apart_and_bounds_come_from_the_file(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        world = World(tmp_path, 8000, FakeGuest("web"), FakeGuest("db"))
        twin = FakeGuest("web", pid=102, born_at=900.0)
        world.hypervisor.guests["/fake/twin"] = twin
        async with world:
            await asyncio.sleep(2.5)
            names = {guest.key: guest.name for guest in (await world.status()).snapshot.guests}
            assert names == {"/fake/web": "web@/fake/web", "/fake/db": "db", "/fake/twin": "web@/fake/twin"}

    virtually(main())


def test_a_move_that_would_break_an_invariant_is_held_back_and_told_once(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A guard that has gone mad lets everything shrink to a size that is on no page."""

    async def main() -> None:
        world = World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4)))
        really = Engine.step

        def mad(engine: Engine, state: State, snapshot: Snapshot, now: float) -> tuple[State, Any]:
            after, decisions = really(engine, state, snapshot, now)
            odd = [
                msgspec.structs.replace(d, size=d.size + 1)
                if isinstance(d, SetTarget) and d.guest == "web-0"
                else d
                for d in decisions
            ]
            return after, odd

        monkeypatch.setattr(Engine, "step", mad)
        async with world:
            await asyncio.sleep(20)
            status = await world.status()
            assert world.guests["web-0"].actual == 512 * MIB
            assert all(world.guests[f"web-{n}"].actual < 512 * MIB for n in (1, 2, 3))
            told = {one.where: one.says for one in status.daemon.problems}
            assert "times a move was held back" in told["invariant I1"]
            assert {t.reason for t in status.decisions if t.guest == "web-0"} == {"held-back"}

    virtually(main())
    errors = [record.message for record in caplog.records if "a defect of autoballoon" in record.message]
    assert len([error for error in errors if "held back: I1: web-0, asked to go" in error]) == 1
