"""What all tests share: how long they may try."""

import pytest
from hypothesis import settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak-minutes",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="this run is part of a soak of so many minutes: the property tests try many more examples",
    )


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile("fast", max_examples=100, deadline=None)
    settings.register_profile("soak", max_examples=10_000, deadline=None)
    settings.load_profile("soak" if config.getoption("--soak-minutes") else "fast")


@pytest.fixture
def soak_minutes(request: pytest.FixtureRequest) -> float:
    """Minutes of the soak that this run is part of; 0 in an ordinary run."""
    return float(request.config.getoption("--soak-minutes"))
