"""Signals that end a lab: it removes what it made, and says so."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP cancel the task that entered, as Ctrl-C does.

    One that is ignored stays so (nohup), and one that somebody else handles is his.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    ours = [ending for ending in _ENDINGS if signal.getsignal(ending) == signal.SIG_DFL]
    for ending in ours:
        loop.add_signal_handler(ending, task.cancel)
    try:
        yield
    finally:
        for ending in ours:
            loop.remove_signal_handler(ending)


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """As long as a task works without waiting for its loop: Ctrl-C and these signals end it at once, not at its next
    await, by KeyboardInterrupt and CancelledError."""

    def end(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt if number == signal.SIGINT else asyncio.CancelledError

    with _answered(end):
        yield


@contextlib.contextmanager
def put_off(say: Callable[[str], None]) -> Iterator[None]:
    """Within, Ctrl-C and these signals are only answered by a sentence; they take effect when it is left."""
    came = set[int]()

    def wait(number: int, _: FrameType | None) -> None:
        came.add(number)
        say("removing what was made; this cannot be interrupted")

    with _answered(wait):
        yield
    for one in came:
        signal.raise_signal(one)


@contextlib.contextmanager
def _answered(answer: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within, Ctrl-C and these signals are answered so; one that is ignored stays so."""
    heeded = [one for one in (signal.SIGINT, *_ENDINGS) if signal.getsignal(one) != signal.SIG_IGN]
    before = {one: signal.signal(one, answer) for one in heeded}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
