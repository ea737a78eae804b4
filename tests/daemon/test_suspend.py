"""Guests that the daemon stops: written down first, resumed by whoever comes after it, and nobody else's business."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.track import LAND_S
from autoballoon.core.units import MIB
from autoballoon.daemon.config import parse
from autoballoon.daemon.loop import Daemon
from autoballoon.daemon.release import release
from autoballoon.daemon.statefile import Saved, StateFile
from autoballoon.guests.fake import FakeGuest
from tests.daemon.test_loop import World, at_once

Run = Callable[[Coroutine[Any, Any, Any]], Any]

CROWDED_S = 30
"""Seconds after which one of the guests has been stopped."""


class Crowd(World):
    """Three guests that need 380 MiB each, all of them opted in, on a host that has room for two."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1150, *(FakeGuest(f"web-{n}", need=380 * MIB) for n in range(3)))
        text = '[host]\noverload = "suspend"\n[defaults]\nmay_suspend = true\n'
        self.config = msgspec.structs.replace(parse(text), socket=str(folder / "control.sock"))
        self.file = StateFile(folder / "control.sock.state.json")
        self.another_daemon()

    def free_now(self) -> int:
        # What is stopped goes to the host's swap.
        held = sum((guest.actual if guest.running else 0) + 30 * MIB for guest in self.guests.values())
        return max(0, self.capacity - self.other - held)

    def read(self, pid: int = 0, ram: int = 0) -> Any:
        held = super().read(pid, ram)
        if pid and not next(guest for guest in self.guests.values() if guest.pid == pid).running:
            return msgspec.structs.replace(held, resident=0)
        return held

    async def __aenter__(self) -> "Crowd":
        await super().__aenter__()
        return self

    @property
    def stopped(self) -> list[str]:
        return [name for name, guest in self.guests.items() if not guest.running]

    async def again(self) -> None:
        """Another daemon starts."""
        self.another_daemon()
        self.running = asyncio.create_task(self.daemon.run())
        await asyncio.sleep(2.5)

    async def dies_with_one_stopped(self) -> str:
        """Whom the daemon had stopped when it was killed."""
        await asyncio.sleep(CROWDED_S)
        (ours,) = self.stopped
        await self.killed()
        return ours

    async def dies_with_an_order_under_way(self, *, in_order: bool) -> FakeGuest:
        """Whom it told to stop, without an answer: libvirt has an order wait for a domain whose job another has."""
        really = self.hypervisor.suspend, self.hypervisor.resume
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def wait(key: str) -> None:
            if not told.done():
                told.set_result(key)
            await asyncio.sleep(2)

        self.hypervisor.suspend = self.hypervisor.resume = wait  # type: ignore[method-assign]
        guest = self.hypervisor.guests[await told]
        if in_order:
            self.daemon.stop()
            await self.running
        else:
            await self.killed()
        self.hypervisor.suspend, self.hypervisor.resume = really  # type: ignore[method-assign]
        return guest

    def stop_by_hand(self, besides: str) -> str:
        """Somebody else stops a guest: which."""
        name = next(name for name in self.guests if name != besides)
        self.guests[name].running = False
        return name

    async def let_run(self) -> list[str]:
        """`run --release`."""
        return await release(self.config.socket, lambda keys: self.hypervisor, self.identity, at_once)


def test_one_is_stopped_and_written_down_before_it_is(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        written: list[bool] = []
        really = world.hypervisor.suspend

        async def suspend(key: str) -> bool | None:
            written.append(key in {one.key for one in world.file.load().stopped})
            return await really(key)

        world.hypervisor.suspend = suspend  # type: ignore[method-assign]
        async with world:
            await asyncio.sleep(CROWDED_S)
            assert len(world.stopped) == 1
            assert written == [True]
            (kept,) = world.file.load().stopped
            assert [kept.name] == world.stopped
            status = await world.status()
            (told,) = [told for told in status.decisions if told.guest == kept.name]
            assert (told.kind, told.reason) == ("stay", "wait-turn")
            before = world.stopped
            await asyncio.sleep(200)
            assert len(written) > 1
            assert written[-1]
            assert len(world.stopped) == 1
            assert [one.name for one in world.file.load().stopped] == world.stopped
            assert before

    virtually(main())


def test_leaving_resumes_and_leaves_no_file(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        async with world:
            await asyncio.sleep(CROWDED_S)
            assert world.stopped
        assert world.stopped == []

    virtually(main())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["another daemon", "release"])
def test_after_a_crash_what_was_stopped_runs_and_nobody_else(
    tmp_path: Path, virtually: Run, how: str
) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        async with world:
            ours = await world.dies_with_one_stopped()
            by_hand = world.stop_by_hand(besides=ours)
            if how == "another daemon":
                await world.again()
            else:
                assert await world.let_run() == [f"{ours} runs again"]
                assert await world.let_run() == ["no guest is stopped or limited by autoballoon"]
            assert world.stopped == [by_hand]
            assert world.file.load() == Saved()
            if how == "another daemon":
                await asyncio.sleep(5 * CROWDED_S)
                assert by_hand in world.stopped

    virtually(main())


def test_after_a_crash_another_qemu_at_the_same_socket_is_left_alone(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        async with world:
            name = await world.dies_with_one_stopped()
            world.guests[name].pid = 999
            await world.again()
            await asyncio.sleep(20)
            assert not world.guests[name].running
            assert name not in {one.name for one in world.file.load().stopped}

    virtually(main())


def test_release_beside_a_daemon_is_refused(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with Crowd(tmp_path) as world:
            await asyncio.sleep(CROWDED_S)
            with pytest.raises(CouldNot, match="another autoballoon daemon holds"):
                await world.let_run()
            assert world.stopped

    virtually(main())


def test_release_tells_who_could_not_be_resumed_and_keeps_it(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        async with world:
            name = await world.dies_with_one_stopped()
            really = world.hypervisor.resume

            async def lost(key: str) -> bool | None:
                return None

            world.hypervisor.resume = lost  # type: ignore[method-assign]
            with pytest.raises(CouldNot, match=f"still stopped: {name} "):
                await world.let_run()
            assert [one.name for one in world.file.load().stopped] == [name]

            async def migrated(key: str) -> bool | None:
                return False

            world.hypervisor.resume = migrated  # type: ignore[method-assign]
            assert await world.let_run() == [f"{name} stands still for another reason and is left so"]
            assert world.file.load() == Saved()
            world.hypervisor.resume = really  # type: ignore[method-assign]

    virtually(main())


def test_a_file_that_cannot_be_understood_is_set_aside_and_the_daemon_runs(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        world.file.path.write_text('{"v":7}')
        async with world:
            await asyncio.sleep(CROWDED_S)
            assert len(world.stopped) == 1
        assert world.stopped == []

    virtually(main())
    assert "is of version 7" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["control.sock.state.json.unusable"]


def test_while_the_file_cannot_be_written_nobody_is_stopped(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: StateFile, saved: Saved) -> None:
        raise CouldNot("the state file cannot be written (disk full); make room")

    async def main() -> None:
        async with Crowd(tmp_path) as world:
            monkeypatch.setattr(StateFile, "save", full)
            await asyncio.sleep(2 * CROWDED_S)
            assert world.stopped == []
            status = await world.status()
            assert len(status.decisions) == 3

    virtually(main())
    assert "no guest is stopped: the state file cannot be written" in caplog.text


def test_while_the_disk_hangs_nobody_is_stopped_and_ticks_go_on(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        saves, comes = 0, asyncio.Event()

        async def apart(call: Callable[..., Any], *given: Any) -> Any:
            nonlocal saves
            if call.__name__ == "save":
                saves += 1
                await comes.wait()
            return call(*given)

        world.daemon = Daemon(lambda: world.config, world.assemble, apart)
        async with world:
            await asyncio.sleep(2 * CROWDED_S)
            assert world.stopped == []
            assert (await world.status()).daemon.tick.number >= 2 * CROWDED_S - 5
            assert saves == 1, "a thread hangs, and no other does"
            comes.set()
            await asyncio.sleep(5)
            assert saves > 1
            assert world.file.load().stopped == (), "what came too late is crossed out"
        assert world.stopped == []

    virtually(main())
    assert "no guest is stopped: the state file" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_who_was_stopped_is_let_run_though_the_host_cannot_be_read(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the control group that is its capacity has been removed."""

    async def main() -> None:
        world = Crowd(tmp_path)
        async with world:
            await asyncio.sleep(CROWDED_S)
            assert world.stopped
            sizes = {name: guest.target for name, guest in world.guests.items()}
            world.broken = CouldNot("the group can no longer be read")
            with pytest.raises(CouldNot, match="10 ticks in a row failed"):
                await world.running
        assert world.stopped == []
        assert {name: guest.target for name, guest in world.guests.items()} == sizes

    virtually(main())
    assert list(tmp_path.iterdir()) == []


def test_one_that_somebody_else_stopped_first_is_not_ours(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        really = world.hypervisor.suspend
        first: list[str] = []

        async def too_late(key: str) -> bool | None:
            if not first:
                first.append(key)
                world.hypervisor.guests[key].running = False
            return await really(key)

        world.hypervisor.suspend = too_late  # type: ignore[method-assign]
        async with world:
            await asyncio.sleep(CROWDED_S)
            assert first
            world.capacity = 4000 * MIB
            await asyncio.sleep(100)
            assert not world.hypervisor.guests[first[0]].running
        assert not world.hypervisor.guests[first[0]].running

    virtually(main())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arrives", [True, False])
def test_an_order_that_was_lost_or_comes_late_leaves_nobody_stopped_for_ever(
    tmp_path: Path, virtually: Run, arrives: bool
) -> None:
    """The socket of a guest jams when it is told to stop; it may stop for all that, and nothing is heard of it."""

    async def main() -> None:
        world = Crowd(tmp_path)
        really = world.hypervisor.suspend, world.hypervisor.resume
        jammed: list[str] = []

        async def suspend(key: str) -> bool | None:
            if jammed:
                return await really[0](key)
            jammed.append(key)
            world.hypervisor.guests[key].silent = True
            await asyncio.sleep(2)
            return None

        async def resume(key: str) -> bool | None:
            return None if is_jammed and key in jammed else await really[1](key)

        world.hypervisor.suspend = suspend  # type: ignore[method-assign]
        world.hypervisor.resume = resume  # type: ignore[method-assign]
        is_jammed = True
        async with world:
            await asyncio.sleep(CROWDED_S)
            (key,) = jammed
            guest = world.hypervisor.guests[key]
            await asyncio.sleep(20)
            assert key in {one.key for one in world.file.load().stopped}
            is_jammed, guest.silent, guest.running = False, False, not arrives
            await asyncio.sleep(5)
            assert guest.running
            assert key not in {one.key for one in world.file.load().stopped}

    virtually(main())


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("how", ["another daemon", "release"])
def test_one_that_stops_only_when_the_daemon_that_told_it_is_gone_runs_again(
    tmp_path: Path, virtually: Run, in_order: bool, how: str
) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        async with world:
            guest = await world.dies_with_an_order_under_way(in_order=in_order)
            assert [one.name for one in world.file.load().stopped] == [guest.name]
            if how == "another daemon":
                await world.again()
                assert [one.name for one in world.file.load().stopped] == [guest.name]
                guest.running = False
                await asyncio.sleep(3)
            else:
                says = f"^told to stop a moment ago, and may yet: {guest.name} "
                with pytest.raises(CouldNot, match=says):
                    await world.let_run()
                guest.running = False
                assert await world.let_run() == [f"{guest.name} runs again"]
            assert guest.running
            assert world.file.load().stopped == ()

    virtually(main())


def test_an_order_of_a_daemon_before_is_not_waited_for_for_ever(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        async with world:
            guest = await world.dies_with_an_order_under_way(in_order=False)
            world.capacity = 4000 * MIB
            await world.again()
            await asyncio.sleep(LAND_S)
            assert world.file.load().stopped == ()
            guest.running = False
            await asyncio.sleep(5)
            assert not guest.running, "that was somebody else"

    virtually(main())


def test_a_reload_that_hides_a_stopped_guest_or_moves_nothing_lets_it_run_first(
    tmp_path: Path, virtually: Run
) -> None:
    async def main(**changes: Any) -> None:
        world = Crowd(tmp_path)
        async with world:
            await asyncio.sleep(CROWDED_S)
            assert world.stopped
            world.config = msgspec.structs.replace(world.config, **changes)
            world.daemon.reload()
            await asyncio.sleep(0.5)
            assert world.stopped == []
            assert world.file.load() == Saved()

    virtually(main(qmp=("/run/elsewhere/*.qmp",)))
    virtually(main(dry_run=True))


def test_a_reload_with_another_policy_forgets_nobody(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with Crowd(tmp_path) as world:
            await asyncio.sleep(CROWDED_S)
            assert world.stopped
            world.config = msgspec.structs.replace(world.config, policy="static")
            world.daemon.reload()
            await asyncio.sleep(5)
            assert world.stopped == []  # a published rule knows no load control

    virtually(main())


def test_a_dry_run_stops_and_resumes_nobody_and_writes_nothing(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        world.config = msgspec.structs.replace(world.config, dry_run=True)
        world.another_daemon()
        async with world:
            await asyncio.sleep(CROWDED_S)
            kinds = {told.kind for told in (await world.status()).decisions}
            assert "suspend" in kinds
            assert world.stopped == []

    virtually(main())
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_lets_run_whom_a_daemon_before_it_had_stopped(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        async with world:
            ours = await world.dies_with_one_stopped()
            by_hand = world.stop_by_hand(besides=ours)
            world.config = msgspec.structs.replace(world.config, dry_run=True)
            caplog.clear()
            await world.again()
            assert world.stopped == [by_hand]
            assert world.file.load() == Saved()
            sizes = {name: guest.actual for name, guest in world.guests.items()}
            await asyncio.sleep(2 * CROWDED_S)
            assert world.stopped == [by_hand]
            assert {name: guest.actual for name, guest in world.guests.items()} == sizes
            assert any(ours in line and "DRY RUN" not in line for line in caplog.messages)

    caplog.set_level(logging.INFO)
    virtually(main())


def test_a_guest_that_ends_while_it_is_stopped_is_crossed_out(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)
        async with world:
            await asyncio.sleep(CROWDED_S)
            (name,) = world.stopped
            del world.hypervisor.guests[f"/fake/{name}"]
            await asyncio.sleep(3)
            assert world.file.load() == Saved()

    virtually(main())


def test_leaving_is_bounded_when_a_stopped_guest_does_not_answer(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        world = Crowd(tmp_path)

        async def jam(*_: object) -> bool:
            await asyncio.sleep(3600)
            return True

        async with world:
            await asyncio.sleep(CROWDED_S)
            (name,) = world.stopped
            monkeypatch.setattr(world.hypervisor, "resume", jam)
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 5
        assert [one.name for one in world.file.load().stopped] == [name]
        assert f"still stopped: {name}" in caplog.text

    caplog.set_level(logging.ERROR)
    virtually(main())
