"""What a service manager hears, over a socket of its own; systemd itself does not run here."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoballoon.daemon.systemd import STATUS_EVERY_S, Manager, Watchdog
from autoballoon.guests.fake import FakeGuest
from tests.daemon.test_loop import World

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Listener:
    """The manager's end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        words = []
        with contextlib.suppress(BlockingIOError):
            while True:
                words.append(self.socket.recv(4096).decode())
        return words


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@autoballoon-test-{os.getpid()}"
    listener = Listener(name)
    yield listener
    listener.socket.close()


def test_each_word_is_one_datagram(listener: Listener) -> None:
    manager = Manager({"NOTIFY_SOCKET": listener.name})
    manager.ready()
    before = time.monotonic_ns() // 1000
    manager.reloading()
    manager.ready()
    manager.stopping()
    up, reloading, again, stopping = listener.heard()
    assert (up, again, stopping) == ("READY=1", "READY=1", "STOPPING=1")
    word, _, since = reloading.partition("\nMONOTONIC_USEC=")
    assert word == "RELOADING=1"
    assert before <= int(since) <= time.monotonic_ns() // 1000
    manager.close()


def test_a_status_is_one_line_and_told_when_it_is_another_and_not_too_often(listener: Listener) -> None:
    manager = Manager({"NOTIFY_SOCKET": listener.name})
    manager.status("fine\nREADY=1", 0.0)
    manager.status("another", 1.0)
    manager.status("another", STATUS_EVERY_S)
    manager.status("another", 3 * STATUS_EVERY_S)
    assert listener.heard() == ["STATUS=fine READY=1", "STATUS=another"]
    manager.close()


@pytest.mark.parametrize("name", ["", "vsock:2:1234", "/no/such/socket", "relative"])
def test_where_nobody_listens_nothing_happens(name: str) -> None:
    manager = Manager({"NOTIFY_SOCKET": name})
    manager.ready()
    manager.stopping()
    manager.close()


def test_a_manager_that_does_not_listen_delays_nobody(listener: Listener) -> None:
    manager = Manager({"NOTIFY_SOCKET": listener.name})
    began = time.monotonic()
    for _ in range(2000):
        manager.ready()
    assert time.monotonic() - began < 2
    manager.close()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_ours_or_none(environment: dict[str, str], seconds: float | None) -> None:
    assert Manager(environment, pid=7).watchdog_s == seconds


def test_the_watchdog_hears_of_us_at_half_its_time_while_ticks_end(tmp_path: Path, virtually: Run) -> None:
    listener = Listener(str(tmp_path / "notify"))

    async def main() -> None:
        manager = Manager({"NOTIFY_SOCKET": listener.name, "WATCHDOG_USEC": "20000000"})
        watchdog = Watchdog(manager)
        watchdog.start()
        for _ in range(59):
            await asyncio.sleep(1)
            watchdog.ticked(1.0)
        assert listener.heard() == ["WATCHDOG=1"] * 6
        await asyncio.sleep(100)  # no tick ends any more
        assert len(listener.heard()) <= 1
        watchdog.close()
        manager.close()

    virtually(main())
    listener.socket.close()


def test_an_interval_longer_than_the_watchdog_is_no_hanging_tick(tmp_path: Path, virtually: Run) -> None:
    listener = Listener(str(tmp_path / "notify"))

    async def main() -> None:
        manager = Manager({"NOTIFY_SOCKET": listener.name, "WATCHDOG_USEC": "20000000"})
        watchdog = Watchdog(manager)
        watchdog.start()
        heard = []
        for _ in range(5):
            watchdog.ticked(60.0)
            await asyncio.sleep(60)
            heard += (
                listener.heard()
            )  # the kernel keeps ten datagrams for who does not listen, and drops the rest
        assert len(heard) >= 29
        watchdog.close()
        manager.close()

    virtually(main())
    listener.socket.close()


def test_a_daemons_life_as_the_manager_hears_it(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", listener.name)
    heard: list[str] = []

    async def main() -> None:
        world = World(tmp_path, 4000, FakeGuest("web"))
        world.config = msgspec.structs.replace(world.config, dry_run=True)
        world.another_daemon()
        async with world:
            await asyncio.sleep(0.5)
            assert (await world.status()).daemon.tick.number == 1
            heard.extend(listener.heard())
            await asyncio.sleep(10)
            heard.extend(listener.heard())
            world.daemon.reload()
            await asyncio.sleep(1)
            heard.extend(word.partition("\n")[0] for word in listener.heard())
        heard.extend(listener.heard())

    virtually(main())
    status, *words = heard
    assert status.startswith("STATUS=DRY RUN: 1 guest, promised ")
    assert words[0] == "READY=1"
    assert [word for word in words[1:] if not word.startswith("STATUS")] == [
        *("RELOADING=1", "READY=1"),
        "STOPPING=1",
    ]
    listener.socket.close()


def test_a_daemon_whose_first_ticks_fail_is_not_said_to_be_up(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", listener.name)

    async def main() -> None:
        async def fail(*_: object) -> None:
            raise OSError("no host")

        world = World(tmp_path, 4000, FakeGuest("web"))
        really, world.daemon._decide_and_act = world.daemon._decide_and_act, fail  # type: ignore[method-assign,assignment]
        async with world:
            await asyncio.sleep(2.5)
            assert listener.heard() == ["EXTEND_TIMEOUT_USEC=2000000"] * 3
            world.daemon.reload()
            await asyncio.sleep(0.3)
            assert len(world.assembled) == 2
            assert listener.heard() == ["EXTEND_TIMEOUT_USEC=2000000"], "a reload makes no good tick"
            world.daemon._decide_and_act = really  # type: ignore[method-assign]
            await asyncio.sleep(3)
            assert [word for word in listener.heard() if not word.startswith("STATUS")] == ["READY=1"]

    virtually(main())
    listener.socket.close()


def test_a_daemon_whose_ticks_hang_is_not_said_to_live(
    tmp_path: Path, virtually: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", listener.name)
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    alive: list[str] = []

    async def main() -> None:
        async def hang(*_: object) -> None:
            await asyncio.sleep(300)

        world = World(tmp_path, 4000, FakeGuest("web"))
        async with world:
            for _ in range(10):
                await asyncio.sleep(5)
                alive.extend(listener.heard())
            assert alive.count("WATCHDOG=1") >= 9
            monkeypatch.setattr(world.daemon, "_act", hang)
            await asyncio.sleep(15)
            listener.heard()
            await asyncio.sleep(100)
            assert "WATCHDOG=1" not in listener.heard()
            monkeypatch.undo()

    virtually(main())
    listener.socket.close()
