"""What all tests share: how long they may try."""

import signal

import pytest
from hypothesis import settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak-minutes",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="this run is part of a soak that long: property tests try 200 examples for each of its minutes",
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts its background jobs so, and what the tests start would inherit it: no Ctrl-C could end that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    minutes = float(config.getoption("--soak-minutes"))
    settings.register_profile(
        "autoballoon",
        max_examples=max(50, int(200 * minutes)),
        deadline=None,
        derandomize=not minutes,  # an ordinary run gives the same verdict twice; looking for more is a soak's work
    )
    settings.load_profile("autoballoon")


@pytest.fixture
def soak_minutes(request: pytest.FixtureRequest) -> float:
    """Minutes of the soak that this run is part of; 0 in an ordinary run."""
    return float(request.config.getoption("--soak-minutes"))
