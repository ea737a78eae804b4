"""Signals reach a lab that works without waiting, and leave the process as it was."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoballoon.lab import host as hosts
from autoballoon.lab import tidy
from autoballoon.lab.endings import ended_at_once, ended_by_signals
from autoballoon.lab.host import LabHost
from autoballoon.lab.swap import SwapFile

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


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tidy.Note:
    """What a lab's host makes lies below the test's folder, with no group; its swap is on."""
    note = tidy.begin(tmp_path, tmp_path / "notes")
    group = SimpleNamespace(
        make=lambda: None, limit=lambda _: None, wake=lambda: False, path="group", procs=(), version=1
    )
    monkeypatch.setattr(tidy, "sweep", list)
    monkeypatch.setattr(tidy, "begin", lambda _: note)
    monkeypatch.setattr(hosts, "Group", lambda _: group)
    monkeypatch.setattr(SwapFile, "_is_on", lambda self: self.path.exists())
    Path(note.swap).touch()
    return note


@pytest.mark.parametrize(("how", "error"), HOWS)
def test_a_signal_waits_until_all_is_removed(
    how: signal.Signals,
    error: type[BaseException],
    note: tidy.Note,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swapoff = tmp_path / "swapoff"
    swapoff.write_text(f"#!/bin/sh\nkill -{how.value} $PPID\nkill -{how.value} $PPID\n")
    swapoff.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    said, before = list[str](), handlers()

    async def work() -> None:
        with ended_by_signals():
            async with LabHost(limit=None, swap=0, say=said.append):
                pass
            await asyncio.sleep(60)

    with pytest.raises(error):
        asyncio.run(work())
    assert not Path(note.swap).exists()
    assert not note.path.exists()
    assert "removing what was made; this cannot be interrupted" in said
    assert f"removed the swap file {note.swap}; removed the folder {note.run}" in said
    assert handlers() == before
