"""Threads for calls that may never come back: one that is late is left where it is, and nobody waits for it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

MOST_LEFT = 6
"""With so many calls late no other is made: each holds a thread here, and one of libvirtd's twenty workers. A QEMU that
hangs keeps two at most, a reading and a call of its own: beside two of them there are two for the others."""


class Late(Exception):
    """The call has not come back in time, and goes on without us."""


class Full(Exception):
    """No other call is made: too many have not come back, or there is no thread for it."""


class Crew:
    """Makes calls in threads of their own, which do not keep the process from ending (those of asyncio do)."""

    def __init__(self, most_left: int = MOST_LEFT) -> None:
        self._most_left = most_left
        self._left: set[asyncio.Future[Any]] = set()

    @property
    def left(self) -> int:
        """How many calls are late and have not come back yet."""
        return len(self._left)

    @property
    def is_full(self) -> bool:
        """Whether no other call may be made."""
        return len(self._left) >= self._most_left

    async def call(
        self,
        work: Callable[[], T],
        patience_s: float,
        ended: Callable[[], None] | None = None,
        unclaimed: Callable[[T], None] | None = None,
    ) -> T:
        """What `work` returns or raises. Late after `patience_s`; Full when too many are late.

        `ended` is called in the event loop when the call has come back, however late, and `unclaimed` with what it
        returned when nobody waited for that any more.
        """
        if self.is_full:
            if ended is not None:
                ended()
            raise Full
        future = self.apart(work)
        if ended is not None:
            future.add_done_callback(lambda _: ended())
        is_left = True
        try:
            await asyncio.wait({future}, timeout=patience_s)
            is_left = not future.done()
        finally:
            if is_left:
                self._left.add(future)
                future.add_done_callback(partial(self._came_back, unclaimed))
        if is_left:
            raise Late
        return future.result()

    def _came_back(self, unclaimed: Callable[[T], None] | None, future: "asyncio.Future[T]") -> None:
        self._left.discard(future)
        failed = future.exception()  # nobody is there any more to whom it could be told
        if unclaimed is not None and failed is None:
            unclaimed(future.result())

    @staticmethod
    def apart(work: Callable[[], T]) -> "asyncio.Future[T]":
        """The future of `work`, which has begun in a thread of its own."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # told to whoever waits
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, result, error)

        try:
            threading.Thread(target=run, name="libvirt call", daemon=True).start()
        except RuntimeError:  # the service has as many as it may have
            future.set_exception(Full())
        return future
