"""Signals reach a lab that works without waiting, and leave the process as it was."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from autoballoon.lab.endings import ended_at_once, ended_by_signals

HOWS = [
    (signal.SIGINT, KeyboardInterrupt),
    (signal.SIGTERM, asyncio.CancelledError),
    (signal.SIGHUP, asyncio.CancelledError),
]


@pytest.fixture(autouse=True)
def nothing_ignored() -> Iterator[None]:
    """Whatever the tests were started by: nohup has SIGHUP ignored."""
    usual: tuple[Any, ...] = (signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL)
    before = [signal.signal(how, handler) for (how, _), handler in zip(HOWS, usual, strict=True)]
    yield
    for (how, _), handler in zip(HOWS, before, strict=True):
        signal.signal(how, handler)


def handlers() -> list[object]:
    return [signal.getsignal(how) for how, _ in HOWS]


@pytest.mark.parametrize(("how", "error"), HOWS)
def test_work_that_does_not_wait_is_ended_at_once(how: signal.Signals, error: type[BaseException]) -> None:
    before = handlers()
    reached = False

    async def work() -> None:
        nonlocal reached
        with ended_by_signals(), ended_at_once():
            os.kill(os.getpid(), how)
            reached = True

    with pytest.raises(error):
        asyncio.run(work())
    assert not reached
    assert handlers() == before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_what_waits_also_when_a_part_of_it_heeds_signals_too(how: signal.Signals) -> None:
    before = handlers()

    async def work() -> None:
        with ended_by_signals():
            with ended_by_signals():
                pass
            os.kill(os.getpid(), how)
            await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(work())
    assert handlers() == before


def test_what_is_ignored_stays_so() -> None:
    """As nohup has it."""

    async def work() -> None:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            with ended_at_once():
                os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        asyncio.run(work())
    finally:
        signal.signal(signal.SIGHUP, before)
