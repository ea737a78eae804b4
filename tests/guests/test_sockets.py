"""Looking for sockets again and again."""

import asyncio
import os
import socket
from pathlib import Path

from autoballoon.guests.sockets import Rescan, sockets


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
