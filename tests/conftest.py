"""What all tests share: how long they may try."""

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
