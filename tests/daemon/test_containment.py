"""`contain = true`: a limit that follows what was granted, never in a guest's way, and gone when we are."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.limit import SLACK_MIN
from autoballoon.core.units import MIB
from autoballoon.daemon.config import parse
from autoballoon.daemon.containment import LOWER_MIN, MARGIN
from autoballoon.daemon.loop import Daemon
from autoballoon.daemon.release import release
from autoballoon.daemon.statefile import Contained as Entry
from autoballoon.daemon.statefile import Saved, StateFile
from autoballoon.guests.fake import FakeGuest
from tests.daemon.test_loop import World, at_once
from tests.host.groups_v2 import BOOT, Tree

Run = Callable[[Coroutine[Any, Any, Any]], Any]

OVERHEAD = 30 * MIB
BEYOND = OVERHEAD + SLACK_MIN


class Contained(World):
    """Two guests on a host with room for little more than one; each in a group of its own, idle for a while."""

    def __init__(self, folder: Path, *, high: str = "max", text: str = "[host]\ncontain = true\n") -> None:
        self.tree = Tree(folder / "root")
        guests = [FakeGuest(name, need=120 * MIB, cache=10 * MIB) for name in ("web", "db")]
        super().__init__(folder, 800, *guests)
        self.cached: dict[str, int] = {}
        self.ceiling = 1 << 40
        self.too_low: list[str] = []
        """Guests that were told to grow before their group might."""
        for guest in guests:
            assert guest.pid is not None
            self.tree.group(f"{guest.name}.scope", guest.pid, high=high)
            self.tree.process(guest.pid, f"{guest.name}.scope")
        self.config = msgspec.structs.replace(parse(text), socket=str(folder / "control.sock"))
        self.file = StateFile(folder / "control.sock.state.json")
        self.grown: list[str] = []
        self._really = self.hypervisor.set_target
        self.hypervisor.set_target = self._set_target  # type: ignore[method-assign]
        self.another_daemon()

    def another_daemon(self) -> None:
        self.daemon = Daemon(lambda: self.config, self.assemble, at_once, self.tree.root)

    async def _set_target(self, key: str, size: int) -> bool:
        guest = self.hypervisor.guests[key]
        if size > guest.target:
            high = self.high(guest.name)
            if high is not None and high < min(size + BEYOND, self.ceiling):
                self.too_low.append(guest.name)
            self.grown.append(guest.name)
        return await self._really(key, size)

    def read(self, pid: int = 0, ram: int = 0) -> Any:
        held = super().read(pid, ram)
        if pid:
            guest = next(guest for guest in self.guests.values() if guest.pid == pid)
            if (self.tree.cgroup / f"{guest.name}.scope").exists():
                own, high = guest.actual + OVERHEAD, self.high(guest.name) or self.capacity * 2
                cache = min(self.cached.get(guest.name, 0), max(0, high - own))
                self.tree.holds(f"{guest.name}.scope", own, cache)
        return held

    def high(self, name: str) -> int | None:
        return self.tree.high(f"{name}.scope")

    async def __aenter__(self) -> "Contained":
        await super().__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await super().__aexit__(*raised)
        assert not self.too_low

    async def let_go(self) -> list[str]:
        """`run --release`."""
        return await release(
            self.config.socket, lambda keys: self.hypervisor, self.identity, at_once, self.tree.root
        )

    async def settle(self) -> None:
        """Until both have been made smaller: the host is short."""
        await asyncio.sleep(30)
        assert all(guest.actual < 320 * MIB for guest in self.guests.values())


@contextmanager
def full_disk(world: Contained) -> Iterator[None]:
    """The state file cannot be written."""
    file = world.daemon._keeper._file
    save = file.save

    def full(saved: Saved) -> None:
        raise CouldNot("the disk is full")

    file.save = full  # type: ignore[method-assign]
    try:
        yield
    finally:
        file.save = save  # type: ignore[method-assign]


def fits(world: Contained, name: str) -> bool:
    """The limit is what was granted, within what is not worth a change."""
    high, wanted = world.high(name), world.guests[name].actual + BEYOND
    return high is not None and 0 <= high - wanted < LOWER_MIN


def test_the_limit_follows_down_goes_ahead_upward_and_is_gone_at_the_end(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        async with Contained(tmp_path) as world:
            await world.settle()
            assert fits(world, "web")
            assert fits(world, "db")
            assert {one.group for one in world.file.load().contained} == {
                "/sys/fs/cgroup/web.scope",
                "/sys/fs/cgroup/db.scope",
            }
            world.guests["web"].need = 300 * MIB
            await asyncio.sleep(10)
            assert "web" in world.grown
            assert fits(world, "web")
            assert (await world.status()).daemon.problems == ()
        assert (world.high("web"), world.high("db")) == (None, None)
        assert world.file.load() == Saved()

    virtually(main())


def test_who_has_its_whole_ram_is_not_touched(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = Contained(tmp_path)
        world.capacity = 4096 * MIB
        async with world:
            await asyncio.sleep(30)
            assert (world.high("web"), world.high("db")) == (None, None)
            assert world.file.load().contained == ()

    virtually(main())


def test_it_waits_until_the_memory_is_really_back(tmp_path: Path, virtually: Run) -> None:
    """A guest that says it has shrunk and has not (VFIO, huge pages with holes) is not made to swap."""

    async def main() -> None:
        world = Contained(tmp_path)
        pinned, really, squeezed = 450 * MIB, world.tree.holds, []

        def holds(name: str, size: int, cache: int = 0) -> None:
            if name == "web.scope" and size < pinned:
                size = pinned
                squeezed.append((world.high("web") or size) < size)
            really(name, size, cache)

        world.tree.holds = holds  # type: ignore[method-assign]
        async with world:
            await world.settle()
            assert world.guests["web"].actual + BEYOND < pinned
            assert pinned + MARGIN <= (world.high("web") or 0) <= pinned + SLACK_MIN
            assert squeezed
            assert not any(squeezed)
            pinned = 0
            await asyncio.sleep(2)
            assert fits(world, "web")

    virtually(main())


def test_cache_of_disk_images_is_cut_to_the_limit_and_no_room_for_a_guest_to_take(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        async with Contained(tmp_path) as world:
            world.cached["web"] = 900 * MIB
            await world.settle()
            assert fits(world, "web")

    virtually(main())


def test_what_qemu_itself_takes_is_no_fault_of_the_guest(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = Contained(tmp_path)
        beyond, really = 0, world.tree.holds

        def holds(name: str, size: int, cache: int = 0) -> None:
            really(name, size + beyond, cache)

        world.tree.holds = holds  # type: ignore[method-assign]
        async with world:
            await world.settle()
            assert fits(world, "web")
            beyond = 60 * MIB  # kernel memory, say: no part of the process's own
            await asyncio.sleep(4)
            assert world.high("web") == world.guests["web"].actual + BEYOND + 60 * MIB

    virtually(main())


def test_another_s_limit_is_a_ceiling_and_is_put_back(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with Contained(tmp_path, high=str(450 * MIB)) as world:
            await world.settle()
            assert fits(world, "web")
            # While we run somebody sets another one: that is what is put back at the end, and not exceeded.
            world.ceiling = 200 * MIB
            (world.tree.cgroup / "web.scope/memory.high").write_text(str(200 * MIB))
            await asyncio.sleep(5)
            assert world.high("web") == 200 * MIB
        assert world.high("web") == 200 * MIB
        assert world.high("db") == 450 * MIB

    virtually(main())


def test_a_daemon_that_was_killed_leaves_limits_that_the_next_or_release_lifts(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        world = Contained(tmp_path, high=str(600 * MIB))
        async with world:
            await world.settle()
            await world.killed()
            assert fits(world, "web")
            said = await world.let_go()
            assert said == [
                f"memory.high of /sys/fs/cgroup/{name}.scope is 600 MiB again" for name in ("db", "web")
            ]
            assert (world.high("web"), world.high("db")) == (600 * MIB, 600 * MIB)
            assert await world.let_go() == ["no guest is stopped or limited by autoballoon"]

            world.another_daemon()
            world.running = asyncio.create_task(world.daemon.run())
            await asyncio.sleep(30)
            assert fits(world, "web")
            await world.killed()
            # The next one is not to contain any more.
            world.config = msgspec.structs.replace(world.config, contain=False)
            world.another_daemon()
            world.running = asyncio.create_task(world.daemon.run())
            await asyncio.sleep(2)
            assert (world.high("web"), world.high("db")) == (600 * MIB, 600 * MIB)
            assert world.file.load().contained == ()

    virtually(main())


def test_after_a_boot_or_in_a_group_made_again_nothing_is_put_back(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = Contained(tmp_path)
        async with world:
            await world.settle()
            await world.killed()
            kept = world.file.load()
            limits = world.high("web"), world.high("db")
            world.tree.boot("another")
            assert await world.let_go() == ["no guest is stopped or limited by autoballoon"]
            assert (world.high("web"), world.high("db")) == limits
            world.tree.boot(kept.contained[0].boot)
            moved = [msgspec.structs.replace(one, inode=one.inode + 1) for one in kept.contained]
            world.file.save(msgspec.structs.replace(kept, contained=tuple(moved)))
            assert await world.let_go() == ["no guest is stopped or limited by autoballoon"]
            assert (world.high("web"), world.high("db")) == limits

    virtually(main())


def test_what_no_guests_group_can_be_is_never_written_to(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        world = Contained(tmp_path)
        root, mount = world.tree.root, world.tree.cgroup
        elsewhere = root / "srv"
        elsewhere.mkdir()
        (elsewhere / "memory.high").write_text("7")
        (elsewhere / "memory.current").write_text("7")
        (mount / "link").symlink_to(elsewhere)
        names = ("/srv", "/sys/fs/cgroup/../../../srv", "/sys/fs/cgroup/link")
        boot, inode = BOOT, elsewhere.stat().st_ino
        world.file.save(Saved(contained=tuple(Entry(name, inode, boot, None) for name in names)))
        assert await world.let_go() == ["no guest is stopped or limited by autoballoon"]
        assert (elsewhere / "memory.high").read_text() == "7"
        assert world.file.load() == Saved(), "it is not tried again for ever"
        assert all(f"{name} is no control group" in caplog.text for name in names)

    virtually(main())


@pytest.mark.parametrize("change", ["reload", "unmanaged", "dry"])
def test_it_is_lifted_when_the_configuration_no_longer_wants_it(
    tmp_path: Path, virtually: Run, change: str
) -> None:
    async def main() -> None:
        async with Contained(tmp_path) as world:
            await world.settle()
            assert fits(world, "web")
            without = {
                "reload": "",
                "unmanaged": '[host]\ncontain = true\n[guests."web"]\nmanage = false\n',
                "dry": "[host]\ncontain = true\ndry_run = true\n",
            }[change]
            world.config = msgspec.structs.replace(parse(without), socket=world.config.socket)
            world.daemon.reload()
            await asyncio.sleep(3)
            assert world.high("web") is None
            assert (world.high("db") is None) == (change != "unmanaged")

    virtually(main())


def test_a_dry_run_sets_nothing(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with Contained(tmp_path, text="[host]\ncontain = true\ndry_run = true\n") as world:
            for guest in world.guests.values():
                guest.actual = guest.target = 300 * MIB
            await asyncio.sleep(60)
            assert (world.high("web"), world.high("db")) == (None, None)
            assert world.file.load().contained == ()

    virtually(main())


def test_a_group_with_another_process_is_left_alone_and_told_of(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with Contained(tmp_path) as world:
            world.tree.group("web.scope", 100, 7)
            await world.settle()
            assert world.high("web") is None
            assert fits(world, "db")
            (problem,) = (await world.status()).daemon.problems
            assert "web: its control group" in problem.says
            assert "(pid 7)" in problem.says
            # One that enters later ends it, and what was set is put back.
            world.tree.group("db.scope", 101, 8, high=str(world.high("db")))
            world.guests["db"].need = 300 * MIB
            await asyncio.sleep(5)
            assert world.high("db") is None

    virtually(main())


def test_a_guest_that_boots_is_not_held(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with Contained(tmp_path) as world:
            await world.settle()
            assert fits(world, "web")
            guest, now = world.guests["web"], asyncio.get_running_loop().time()
            guest.driver, guest.born_at, guest.taken_at = False, now, None
            await asyncio.sleep(3)
            assert world.high("web") is None

    virtually(main())


def test_one_that_takes_more_is_told_of(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        world = Contained(tmp_path)
        taken, really = 0, world.read

        def read(pid: int = 0, ram: int = 0) -> Any:
            held = really(pid, ram)
            if pid == world.guests["web"].pid and taken:
                high = world.high("web")
                assert high is not None
                world.tree.holds("web.scope", high)
                held = msgspec.structs.replace(held, resident=held.resident + taken)
            return held

        world.read = read  # type: ignore[method-assign]
        async with world:
            await world.settle()
            before = world.high("web")
            taken = SLACK_MIN
            await asyncio.sleep(20)
            assert world.high("web") == before
            (problem,) = (await world.status()).daemon.problems
            assert "web takes more than it was granted" in problem.says

    virtually(main())


def test_nobody_new_is_contained_while_it_cannot_be_written_down(tmp_path: Path, virtually: Run) -> None:
    async def main() -> None:
        async with Contained(tmp_path) as world:
            with full_disk(world):
                await world.settle()
                assert world.high("web") is None
                assert "no further guest" in (await world.status()).daemon.problems[0].says
            await asyncio.sleep(5)
            assert fits(world, "web")

    virtually(main())


def test_it_is_lifted_though_the_disk_is_full(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with Contained(tmp_path) as world:
            await world.settle()
            world.config = msgspec.structs.replace(parse(""), socket=world.config.socket)
            with full_disk(world):
                world.daemon.reload()
                await asyncio.sleep(20)
                assert (world.high("web"), world.high("db")) == (None, None)
                assert len(world.file.load().contained) == 2
            await asyncio.sleep(70)
            assert world.file.load().contained == ()

    virtually(main())
    assert "this tick failed" not in caplog.text


def test_a_disk_that_hangs_holds_no_tick_while_nothing_new_is_to_be_written(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        async with Contained(tmp_path) as world:
            await world.settle()
            before = (await world.status()).daemon.tick.number
            async with world.daemon._keeper._turn:  # something else is being saved, for ever
                await asyncio.sleep(10)
                assert (await world.status()).daemon.tick.number >= before + 9

    virtually(main())


def test_a_cut_that_ends_after_we_have_left_leaves_what_was_there_before(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        world = Contained(tmp_path)
        kernel = asyncio.Event()
        cuts = 0

        async def apart(call: Callable[..., Any], *given: Any) -> Any:
            nonlocal cuts
            if call.__name__ == "set_high":
                cuts += 1
                await kernel.wait()
            return call(*given)

        world.daemon = Daemon(lambda: world.config, world.assemble, apart, world.tree.root)
        async with world:
            world.cached["web"] = 900 * MIB
            await world.settle()
            assert cuts == 1
        assert world.high("web") is None
        kernel.set()
        await asyncio.sleep(1)
        assert world.high("web") is None

    virtually(main())
