"""The goals of `bench/daemon.py`: each is judged."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from autoballoon.core.units import MIB
from bench.daemon import Measured

GOOD = Measured(
    guests=500, cpu=0.1, rss=60 * MIB, lateness={"p50_s": 0.001, "p99_s": 0.01, "missed": 0}, joining_s=0.1,
    machine_s=0.001, commands=Counter({"qom-get": 10_000}), seconds=60.0, starved_s=0.0, lived_s=2500.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("about", "missed"),
    [
        ({}, 0),
        ({"cpu": 0.3}, 1),
        ({"rss": 200 * MIB}, 1),
        ({"lateness": {"p50_s": 0.2, "p99_s": 0.3, "missed": 0}}, 1),
        ({"lateness": {"p50_s": 0.2, "p99_s": 0.2, "missed": 1}}, 1),
        ({"commands": Counter({"qom-get": 50_000})}, 1),
        ({"starved_s": 100.0}, 1),
    ],
)
def test_each_goal_can_be_missed(about: dict[str, Any], missed: int) -> None:
    goals = replace(GOOD, **about).goals()
    assert list(goals.values()).count(False) == missed
