"""What all tests share: how long they may try, and an event loop on virtual time, so that none waits for anything."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import settings

T = TypeVar("T")

SOAKED = 500
"""Examples of each property in one run of a soak; the next run tries others."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak-minutes",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help=f"this run is part of a soak that long: property tests try {SOAKED} new examples",
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts its background jobs so, and what the tests start would inherit it: no Ctrl-C could end that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    minutes = float(config.getoption("--soak-minutes"))
    settings.register_profile(
        "autoballoon",
        max_examples=SOAKED if minutes else 50,
        deadline=None,
        derandomize=not minutes,  # an ordinary run gives the same verdict twice; looking for more is a soak's work
    )
    settings.load_profile("autoballoon")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged may hold bytes that are no UTF-8, on purpose; no process can send those to another."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture
def soak_minutes(request: pytest.FixtureRequest) -> float:
    """Minutes of the soak that this run is part of; 0 in an ordinary run."""
    return float(request.config.getoption("--soak-minutes"))


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
