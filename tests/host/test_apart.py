"""Calls in threads that nobody waits for at the end."""

import subprocess
import sys
import threading

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.host.apart import apart

HANGS = """
import asyncio, contextlib, threading
from autoballoon.host.apart import apart

async def main():
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await apart(threading.Event().wait)

asyncio.run(main())
"""


async def test_it_gives_what_the_call_gives() -> None:
    assert await apart(divmod, 7, 2) == (3, 1)
    assert await apart(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        await apart(divmod, 7, 0)


def test_a_call_that_hangs_keeps_no_process() -> None:
    assert subprocess.run([sys.executable, "-c", HANGS], timeout=20, check=False).returncode == 0


async def test_without_a_thread_it_could_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(CouldNot, match=r"no thread could be started \(can't start new thread\); raise"):
        await apart(divmod, 7, 2)
