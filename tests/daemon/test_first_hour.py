"""Switched on on a host with production guests: what is left alone, and what is told first."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoballoon.core.units import MIB
from autoballoon.daemon.config import parse
from autoballoon.guests.fake import FakeGuest
from autoballoon.host.huge import Splits
from autoballoon.views.status import table
from tests.daemon.test_loop import World

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def configured(world: World, text: str) -> None:
    world.config = msgspec.structs.replace(parse(text), socket=world.config.socket)
    world.another_daemon()


def test_a_guest_that_is_not_managed_is_left_alone_and_counted_at_what_it_holds(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        world = World(tmp_path, 1500, *(FakeGuest(name) for name in ("web-0", "web-1", "web-2", "db-0")))
        configured(world, '[defaults]\nmay_suspend = true\n[guests."db-*"]\nmanage = false\n')
        asked: set[str] = set()
        split: set[int] = set()
        really = world.hypervisor.ask

        async def ask(keys: frozenset[str]) -> None:
            asked.update(keys)
            await really(keys)

        async def split_holed(pid: int) -> Splits:
            split.add(pid)
            return Splits(found=0, cpu_s=0.0)

        monkeypatch.setattr(world.hypervisor, "ask", ask)
        monkeypatch.setattr(world, "split_holed", split_holed)
        async with world:
            await asyncio.sleep(60)
            status = await world.status()
            left = world.guests["db-0"]
            assert left.actual == left.max
            assert {key for key, _ in world.hypervisor.targets} == {f"/fake/web-{n}" for n in range(3)}
            assert asked == {f"/fake/web-{n}" for n in range(3)}
            # Somebody else makes it smaller: that is nobody's business either.
            left.set_target(300 * MIB, asyncio.get_running_loop().time())
            await asyncio.sleep(60)
            assert left.actual == 300 * MIB
            after = await world.status()
            assert left.pid not in split
            assert split
            promised = after.daemon.account.charges - status.daemon.account.charges
            gained = sum(world.guests[f"web-{n}"].target for n in range(3)) - sum(
                one.actual for one in status.snapshot.guests if one.name != "db-0"
            )
            assert abs(promised - (gained - 212 * MIB)) < 16 * MIB
            (told,) = [one for one in after.decisions if one.guest == "db-0"]
            assert told.reason == "unmanaged"
        assert left.actual == 300 * MIB

    virtually(main())


def test_a_dry_run_says_so_first_wherever_it_speaks(
    tmp_path: Path, virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        world = World(tmp_path, 1500, *(FakeGuest(f"web-{n}") for n in range(4)))
        configured(world, "[host]\ndry_run = true\n")
        async with world:
            await asyncio.sleep(60)
            assert table(await world.status()).startswith("DRY RUN")
        assert world.hypervisor.targets == []

    virtually(main())
    lines = [record.getMessage() for record in caplog.records if "MiB" in record.getMessage()]
    assert len(lines) > 1
    assert all(line.startswith("DRY RUN: ") for line in lines)
    assert "statistics" in lines[0]


def test_switched_on_where_there_is_room_nobody_is_touched_for_half_a_minute(
    tmp_path: Path, virtually: Run
) -> None:
    async def main() -> None:
        # One has most of what there is and uses little; by shares half of that is the other's, who would fill it.
        large = FakeGuest("large", max=3000 * MIB, need=200 * MIB)
        small = FakeGuest("small", max=3000 * MIB, cache=3000 * MIB)
        small.actual = small.target = 300 * MIB
        world = World(tmp_path, 4400, large, small)
        async with world:
            await asyncio.sleep(29)
            assert large.target == 3000 * MIB
            await asyncio.sleep(16)
            assert 3000 * MIB * 0.9 <= large.target < 3000 * MIB

    virtually(main())
