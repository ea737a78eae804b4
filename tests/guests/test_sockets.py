"""Looking for sockets again and again."""

import asyncio
import os
import socket
import time
from pathlib import Path

import pytest

from autoballoon.guests.agent import Session
from autoballoon.guests.qga import read_files
from autoballoon.guests.qmp_wire import NotThere, open_wire
from autoballoon.guests.sockets import Rescan, sockets, way_to

STRANGER = 12345


def ignore(key: str, *, waits: bool) -> None:
    """That an agent says its guest runs short."""


def test_a_scan_that_fails_is_told_of_and_followed_by_the_next() -> None:
    """Whatever goes wrong in one scan, guests that come later are found."""
    seen: list[list[str]] = []

    async def body() -> None:
        is_done = asyncio.Event()

        async def scan() -> None:
            seen.append([problem.says for problem in rescan.problems()])
            if len(seen) == 1:
                raise RuntimeError("boom")
            if len(seen) == 3:
                is_done.set()

        rescan = Rescan(scan, 0.0)
        rescan.start()
        await asyncio.wait_for(is_done.wait(), 5.0)
        assert rescan.problems() == []
        await rescan.stop()
        assert not rescan.runs

    asyncio.run(body())
    first, second, third, *_ = seen
    assert first == third == []
    assert second == ["new sockets are not found (RuntimeError: boom); it is tried again"]


def test_what_never_began_can_be_stopped() -> None:
    """A hypervisor that could not start is closed too."""

    async def scan() -> None:
        raise AssertionError

    asyncio.run(Rescan(scan, 1.0).stop())


def test_a_socket_whose_name_is_not_text_is_left_alone_and_told(tmp_path: Path) -> None:
    """As a guest's key it would be in the status, which is JSON."""
    odd = tmp_path / os.fsdecode(b"\xff.qmp")
    with socket.socket(socket.AF_UNIX) as good, socket.socket(socket.AF_UNIX) as bad:
        good.bind(str(tmp_path / "good.qmp"))
        bad.bind(os.fsencode(odd))
        (tmp_path / "link.qmp").symlink_to(odd)
        refused: dict[str, str] = {}
        found = sockets([f"{tmp_path}/*.qmp"], refused)
    assert found == {f"{tmp_path}/good.qmp": "good"}
    assert refused.keys() == {f"{tmp_path}/\\xff.qmp", f"{tmp_path}/link.qmp"}
    assert set(refused.values()) == {"its name is not UTF-8, so it is left alone; give it another"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives links away")
def test_a_link_leads_only_where_who_made_it_could_have_bound_a_socket(tmp_path: Path) -> None:
    """Who has broken out of a guest may own the folder of its socket, and would lead root to any socket."""
    host, vms = tmp_path / "host", tmp_path / "vms"
    host.mkdir()
    (vms / "deep").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as roots, socket.socket(socket.AF_UNIX) as theirs:
        roots.bind(str(host / "roots.qmp"))
        theirs.bind(str(host / "theirs.qmp"))
        os.chown(host / "theirs.qmp", STRANGER, -1)
        links = {
            "admins.qmp": host / "roots.qmp",
            "own.qmp": host / "theirs.qmp",
            "planted.qmp": host / "roots.qmp",
            "deep/in": host,
            "by-way-of.qmp": vms / "planted.qmp",
        }
        for name, target in links.items():
            (vms / name).symlink_to(target)
        for name in ("own.qmp", "planted.qmp", "deep/in"):
            os.chown(vms / name, STRANGER, -1, follow_symlinks=False)
        refused: dict[str, str] = {}
        found = sockets([f"{vms}/*.qmp", f"{vms}/deep/*/*.qmp"], refused)
    assert found == {f"{host}/roots.qmp": "admins", f"{host}/theirs.qmp": "own"}
    assert refused.keys() == {f"{vms}/planted.qmp", f"{vms}/by-way-of.qmp", f"{vms}/deep/in/roots.qmp"}
    assert all(f"a symbolic link of uid {STRANGER} leads there" in says for says in refused.values())


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "one.qmp").symlink_to(tmp_path / "two.qmp")
    (tmp_path / "two.qmp").symlink_to(tmp_path / "one.qmp")
    refused: dict[str, str] = {}
    assert sockets([f"{tmp_path}/*.qmp"], refused) == {}
    assert refused == {}


@pytest.mark.parametrize("where", ["one.qmp", "folder/two.qmp"])
async def test_a_link_that_comes_when_all_was_looked_at_leads_nobody_astray(
    tmp_path: Path, where: str
) -> None:
    place = tmp_path / "vms" / where
    elsewhere = tmp_path / "host" / place.name
    place.parent.mkdir(parents=True)
    elsewhere.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as theirs, socket.socket(socket.AF_UNIX) as hosts:
        theirs.bind(str(place))
        theirs.listen()
        hosts.bind(str(elsewhere))
        hosts.listen()
        hosts.setblocking(False)
        (path,) = sockets([str(place)])
        with socket.socket(socket.AF_UNIX) as visitor, way_to(path) as address:
            visitor.connect(address)
        place.unlink()
        if where == place.name:
            place.symlink_to(elsewhere)
        else:
            place.parent.rmdir()
            place.parent.symlink_to(elsewhere.parent)
        with pytest.raises(NotThere):
            await open_wire(path, 1.0, lambda event, data: None)
        with pytest.raises(FileNotFoundError):
            await read_files(path)
        listening = asyncio.create_task(Session(path, "one", time.monotonic, ignore).run())
        await asyncio.sleep(0)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        with pytest.raises(BlockingIOError):
            hosts.accept()
