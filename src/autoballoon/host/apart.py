"""Threads: of calls that wait for a disk or for the kernel, and of what goes on beside the event loop."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from autoballoon.core.errors import CouldNot

T = TypeVar("T")

Apart = Callable[..., Awaitable[Any]]
"""Calls a function that may wait, and lets the event loop go on meanwhile: `apart`."""


def begin(work: Callable[[], None], name: str) -> threading.Thread:
    """Have `work` done in a thread, which a process that ends does not wait for. CouldNot when there is none for it."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise CouldNot(
            f"no thread could be started ({error}); raise TasksMax of the service or `ulimit -u`"
        ) from None
    return thread


async def apart(call: Callable[..., T], *given: Any) -> T:
    """What `call(*given)` returns or raises; the event loop goes on meanwhile.

    As asyncio.to_thread, but a process can end before such a call does, which on a disk that hangs is never.
    CouldNot when there is no thread for it.
    """
    done: Future[T] = Future()

    def work() -> None:
        done.set_running_or_notify_cancel()  # from now on nobody can take it from under us
        try:
            done.set_result(call(*given))
        except BaseException as error:
            done.set_exception(error)

    begin(work, "apart")
    return await asyncio.wrap_future(done)
