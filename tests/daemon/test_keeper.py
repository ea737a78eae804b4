"""Holds and sizes that others set outlive the daemon: written soon, seldom, and apart from the loop."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoballoon.core.engine import Engine, Rules, State
from autoballoon.core.errors import CouldNot
from autoballoon.core.kept import EVERYONE, Kept, KeptGuest
from autoballoon.core.units import MIB
from autoballoon.daemon.keeper import AGAIN_S, FADING_S, WRITE_S, Keeper
from autoballoon.daemon.statefile import Saved, SavedGuest, StateFile, Stopped
from autoballoon.guests.fake import FakeGuest
from autoballoon.policies import policy_named
from tests.daemon.test_loop import World, at_once

Run = Callable[[Coroutine[Any, Any, Any]], Any]

ENGINE = Engine(Rules(), policy_named("ladder"))
WEB = KeptGuest(pid=7, ceiling=100 * MIB, learnt=90 * MIB, learnt_at=1000.0, asked=80 * MIB)
LIVING = {7: "boot/7/1"}


class Disk(StateFile):
    """Counts what is written; may be full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.writes = 0
        self.full = False

    def save(self, saved: Saved) -> None:
        if self.full:
            raise CouldNot("the state file cannot be written (No space left on device)")
        self.writes += 1
        super().save(saved)


class Kit:
    def __init__(self, folder: Path) -> None:
        self.disk = Disk(folder / "state.json")
        self.keeper = Keeper(self.disk, at_once)
        self.now = asyncio.get_running_loop().time

    async def look(self, state: State) -> State:
        """As a tick does, and let what it began be done."""
        state = self.keeper.look(ENGINE, state, LIVING.get, self.now())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return state

    async def next_daemon(self) -> Kept:
        return await Keeper(self.disk, at_once).load(LIVING.get)


def test_what_is_kept_comes_back(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        kit = Kit(tmp_path)
        state = ENGINE.hold(ENGINE.start(Kept({"web": WEB})), "db")
        await kit.look(state)
        assert await kit.next_daemon() == Kept({"web": WEB}, frozenset({"db"}))

    virtually(main())


def test_it_is_written_only_on_change_and_once_a_second(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        kit = Kit(tmp_path)
        state = ENGINE.start()
        for tenth in range(100):
            state = await kit.look(ENGINE.hold(state, str(tenth)))
            await asyncio.sleep(0.1)
        assert 10 <= kit.disk.writes <= 11
        await kit.keeper.close(ENGINE, state, LIVING.get)
        writes = kit.disk.writes
        assert len((await kit.next_daemon()).holds) == 100
        for _ in range(50):
            state = await kit.look(state)
            await asyncio.sleep(1)
        assert kit.disk.writes == writes

    virtually(main())


def test_a_size_learnt_again_with_every_reading_is_not_written_each_time(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        kit = Kit(tmp_path)
        for second in range(round(2 * FADING_S)):
            learnt = msgspec.structs.replace(WEB, learnt=90 * MIB + second % 3, learnt_at=1000.0 + second)
            await kit.look(ENGINE.start(Kept({"web": learnt})))
            await asyncio.sleep(1)
        assert kit.disk.writes == 2

    virtually(main())


def test_of_a_process_that_has_ended_nothing_is_kept_but_its_hold(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        kit = Kit(tmp_path)
        gone = SavedGuest("old", "boot/8/1", 8, ceiling=5)
        again = SavedGuest("web", "another boot/7/1", 7, ceiling=5)
        kit.disk.save(
            Saved(stopped=(Stopped("old", "old", 8, "boot/8/1"),), guests=(gone, again), holds=("old",))
        )
        kept = await kit.keeper.load(LIVING.get)
        assert kept == Kept(holds=frozenset({"old"}))
        assert kit.disk.load() == Saved(holds=("old",))

    virtually(main())


def test_who_ends_while_out_of_sight_is_forgotten(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        kit = Kit(tmp_path)
        unseen = Kept({"web": WEB, "old": msgspec.structs.replace(WEB, pid=8)})
        state = await kit.look(ENGINE.start(unseen))
        assert set(state.unseen) == {"web"}
        assert set((await kit.next_daemon()).guests) == {"web"}

    virtually(main())


def test_a_full_disk_is_told_once_and_tried_again(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        kit = Kit(tmp_path)
        kit.disk.full = True
        state = ENGINE.hold(ENGINE.start(), EVERYONE)
        for _ in range(100):
            await kit.look(state)
            await asyncio.sleep(1)
        with pytest.raises(CouldNot):
            await kit.keeper.close(ENGINE, state, LIVING.get)
        kit.disk.full = False
        await asyncio.sleep(AGAIN_S)
        await kit.look(state)
        assert (await kit.next_daemon()).holds == {EVERYONE}

    virtually(main())
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "No space left" in errors[0].getMessage()


def test_while_a_write_hangs_nothing_counts_as_written(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        comes = asyncio.Event()

        async def apart(call: Callable[..., Any], *given: Any) -> Any:
            await comes.wait()
            return call(*given)

        disk = Disk(tmp_path / "state.json")
        keeper = Keeper(disk, apart)
        began = asyncio.get_running_loop().time()
        with pytest.raises(CouldNot, match="its disk hangs"):
            await keeper.put(holds=("db",))
        assert asyncio.get_running_loop().time() - began == WRITE_S
        assert keeper.is_late
        with pytest.raises(CouldNot):  # as it was before, and the file is about to become another
            await keeper.put(holds=())
        assert asyncio.get_running_loop().time() - began == WRITE_S, "nobody waits for it twice"
        comes.set()
        await asyncio.sleep(1)
        assert keeper.saved == disk.load() == Saved(holds=("db",))
        assert not keeper.is_late
        await keeper.put(holds=())
        assert disk.load() == Saved()
        assert disk.writes == 2

    virtually(main())


def test_a_slow_disk_holds_up_no_tick(tmp_path: Path, virtually: Run) -> None:
    async def slowly(call: Callable[..., Any], *given: Any) -> Any:
        await asyncio.sleep(30)
        return call(*given)

    async def main() -> None:
        async with World(tmp_path, 4000, FakeGuest("web")) as world:
            await asyncio.sleep(5)
            world.daemon._keeper._apart = slowly
            world.daemon._state = ENGINE.hold(world.daemon._state, "web")
            await asyncio.sleep(20)
            assert (await world.status()).daemon.tick.number >= 25
            await asyncio.sleep(30)
            file = StateFile(tmp_path / "control.sock.state.json")
            assert file.load().holds == ("web",)
            world.daemon._keeper._apart = at_once

    virtually(main())


def test_a_size_that_was_set_by_hand_outlives_a_killed_daemon(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = World(tmp_path, 4000, FakeGuest("web"))
        (web,) = world.guests.values()
        async with world:
            await asyncio.sleep(10.5)
            web.set_target(300 * MIB, asyncio.get_running_loop().time())
            await asyncio.sleep(10)
            (track,) = world.daemon._state.tracks.values()
            assert track.adopted == 300 * MIB
            await world.killed()
        world.another_daemon()
        async with world:
            await asyncio.sleep(60)
            (track,) = world.daemon._state.tracks.values()
            assert track.adopted == 300 * MIB
            assert web.actual <= 300 * MIB

    virtually(main())


def test_of_one_out_of_sight_whose_pid_another_process_has_nothing_is_kept(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        kit = Kit(tmp_path)
        kit.keeper.saved = Saved(guests=(SavedGuest("web", "boot/7/0", 7, ceiling=5),))
        assert (await kit.look(ENGINE.start(Kept({"web": WEB})))).unseen == {}

    virtually(main())


def test_who_was_stopped_in_another_boot_is_not_ours_to_resume(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        kit = Kit(tmp_path)
        kit.disk.save(Saved(stopped=(Stopped("web", "web", 7, "another boot/7/1"),)))
        assert await kit.keeper.load(LIVING.get) == Kept()
        assert kit.disk.load() == Saved()

    virtually(main())
