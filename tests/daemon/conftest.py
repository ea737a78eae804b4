"""What the daemon's tests share: an event loop on virtual time, so that no test waits for anything."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer as soon as nothing else is to be done.

    Sockets between tasks of one loop work as ever: what was sent is there at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        really_select = self._selector.select  # type: ignore[attr-defined]

        def select(timeout: float | None) -> list[Any]:
            events: list[Any] = really_select(0)
            if not events:
                assert timeout is not None, "every task waits, and for nothing that could ever happen"
                self._now += max(0.0, timeout)
            return events

        self._selector.select = select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now


@pytest.fixture
def virtually() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """Runs a coroutine on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        yield runner.run
