"""A guest looked at once through its socket: everything doctor needs, and nothing changed."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from autoballoon.core.facts import GuestFacts
from autoballoon.core.units import MIB
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.qmp_checkup import NoBalloon, look, look_at_all, unusable
from tests.guests.fake_qmp import FakeQemu

CHANGES_NOTHING = {
    "qmp_capabilities", "query-name", "query-status", "query-balloon", "query-memory-size-summary",
    "qom-list", "qom-get", "x-query-virtio-status",
}  # fmt: skip
Begin = Callable[..., Any]


@asynccontextmanager
async def guest_behind(path: Path, **about: Any) -> AsyncIterator[FakeQemu]:
    async with FakeQemu(path, FakeGuest(path.stem, **about), clock=time.time) as qemu:
        yield qemu


async def seen(qemu: FakeQemu) -> GuestFacts:
    found = await look(str(qemu.path), qemu.path.stem, lambda path, pid: 42, timeout_s=0.5)
    assert found is not None
    return found


async def test_a_guest_as_no_daemon_has_touched_it(tmp_path: Path) -> None:
    async with guest_behind(tmp_path / "web.qmp") as qemu:
        found = await seen(qemu)
        assert set(qemu.commands) <= CHANGES_NOTHING
    assert (found.name, found.pid, found.running, found.ram, found.actual) == (
        "web",
        42,
        True,
        512 * MIB,
        512 * MIB,
    )
    assert (found.balloon, found.driver, found.autodeflate) == (True, True, True)
    assert found.device == "/machine/peripheral/balloon0"
    assert (found.period_s, found.answered, found.age_s) == (
        0,
        None,
        None,
    )  # off: nothing can be said of them


async def test_statistics_that_came_have_an_age(tmp_path: Path) -> None:
    async with guest_behind(tmp_path / "web.qmp") as qemu:
        qemu.guest.interval_s = 7
        qemu.guest.take_stats(time.time())
        qemu.lies["last-update"] = int(time.time()) - 60
        found = await seen(qemu)
    assert (found.period_s, found.answered) == (7, True)
    assert found.age_s is not None
    assert 59 < found.age_s < 90


async def test_statistics_that_never_came(tmp_path: Path) -> None:
    async with guest_behind(tmp_path / "web.qmp", silent=True) as qemu:
        qemu.guest.interval_s = 1
        found = await seen(qemu)
    assert (found.period_s, found.answered, found.age_s) == (1, False, None)


async def test_a_guest_without_a_balloon(tmp_path: Path) -> None:
    async with guest_behind(tmp_path / "web.qmp", has_balloon=False) as qemu:
        found = await seen(qemu)
    assert (found.balloon, found.driver, found.trouble) == (False, None, None)


async def test_a_driver_that_is_down_and_a_balloon_that_may_not_deflate(tmp_path: Path) -> None:
    async with guest_behind(tmp_path / "web.qmp", driver=False, deflates_itself=False) as qemu:
        found = await seen(qemu)
    assert (found.driver, found.autodeflate) == (False, False)


@pytest.mark.parametrize(
    "fault", ["no-greeting", "garbage-greeting", "hangs-up", "silent", "garbage", "cuts"]
)
async def test_a_socket_that_misbehaves_is_a_sentence(tmp_path: Path, fault: str) -> None:
    async with guest_behind(tmp_path / "bad.qmp") as qemu, guest_behind(tmp_path / "good.qmp") as other:
        qemu.fault = fault
        paths = [(str(one.path), one.path.stem) for one in (qemu, other)]
        bad, good = await look_at_all(paths, lambda path, pid: 42, timeout_s=0.2)
    assert bad.trouble is not None
    assert good.trouble is None


async def test_what_check_says_of_sockets_that_answer(tmp_path: Path) -> None:
    async with (
        guest_behind(tmp_path / "web.qmp") as web,
        guest_behind(tmp_path / "bare.qmp", has_balloon=False) as bare,
        guest_behind(tmp_path / "mute.qmp") as mute,
    ):
        mute.fault = "silent"
        told = await unusable([str(one.path) for one in (web, bare, mute)], timeout_s=0.2)
        assert set(web.commands) <= CHANGES_NOTHING
    assert told.keys() == {str(bare.path), str(mute.path)}
    assert isinstance(told[str(bare.path)], NoBalloon)
    assert str(told[str(mute.path)]) == "did not answer qom-list within 0.2 s"


async def test_a_server_that_only_greets_is_told_as_that(tmp_path: Path) -> None:
    async with guest_behind(tmp_path / "web.qmp") as qemu:
        qemu.fault, qemu.spared = "silent", set()
        (error,) = (await unusable([str(qemu.path)], timeout_s=0.1)).values()
    assert str(error).startswith("greeted, and did not answer qmp_capabilities")


async def test_a_socket_that_nobody_serves_is_left_out(tmp_path: Path) -> None:
    async with asyncio.timeout(5):
        assert await look_at_all([(str(tmp_path / "gone.qmp"), "gone")], lambda path, pid: None) == []
