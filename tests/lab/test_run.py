"""What a run makes of what its guests say."""

from typing import Any

import pytest

from autoballoon.lab.run import phases_of
from autoballoon.lab.vm import Event

READY = Event("ready", 0.0, {})


def begin(at: float, sleeps_s: float = 1.5) -> Event:
    return Event("begin", at, {"n": 0, "sleeps_s": sleeps_s})


def phase(at: float, busy_s: float) -> Event:
    return Event("phase", at, {"n": 0, "busy_s": busy_s})


@pytest.mark.parametrize(
    ("heard", "until", "phases"),
    [
        ([], 50.0, []),
        ([READY, begin(10.0)], 50.0, [38.5]),
        ([READY, begin(10.0), phase(14.0, 2.5)], 50.0, [2.5]),
        (
            [READY, begin(10.0), phase(14.0, 2.5), begin(30.0)],
            31.0,
            [2.5, 0.0],
        ),  # it may have slept until then
        ([READY, begin(10.0), phase(14.0, 2.5), begin(30.0, 0.0)], 50.0, [2.5, 20.0]),
        ([READY, begin(10.0), Event("short", 11.0, {})], 50.0, [38.5]),  # it said more and did not end either
        ([READY, begin(10.0), Event("oom", 12.0, {})], 50.0, []),  # killed in its guest: nothing ran any more
    ],
)
def test_a_phase_that_never_ended_counts_as_far_as_it_came(
    heard: list[Any], until: float, phases: list[float]
) -> None:
    assert phases_of(heard, until) == phases
