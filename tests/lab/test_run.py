"""What a run makes of what its guests say."""

from typing import Any

import pytest

from autoballoon.lab.run import in_time, ooms_of, phases_of, stalled
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
        (
            [READY, begin(10.0), Event("oom", 13.0, {})],
            50.0,
            [1.5],
        ),  # killed in its guest: nothing ran any more
        ([READY, begin(10.0), Event("short", 11.0, {}), Event("failed", 20.0, {})], 50.0, [8.5]),
        ([READY, begin(10.0), phase(14.0, 2.5), Event("oom", 16.0, {})], 50.0, [2.5]),  # between two phases
        ([READY, begin(10.0), Event("oom", 51.0, {})], 50.0, [38.5]),
    ],
)
def test_a_phase_that_never_ended_counts_as_far_as_it_came(
    heard: list[Any], until: float, phases: list[float]
) -> None:
    assert phases_of(heard, until) == phases


@pytest.mark.parametrize(
    ("ended_at", "phases"),
    [
        (None, [38.5]),
        (58.0, [38.5]),  # killed with the rest, after the controller had ended
        (30.0, [18.5]),  # its QEMU died before
    ],
)
def test_a_phase_lasts_no_longer_than_its_guest_and_the_run(
    ended_at: float | None, phases: list[float]
) -> None:
    assert phases_of([READY, begin(10.0)], 50.0, ended_at) == phases


def test_what_is_done_while_the_controller_ends_is_not_done_in_time() -> None:
    heard = [READY, begin(10.0), phase(51.0, 39.5), Event("done", 51.0, {})]
    assert phases_of(heard, 50.0, 58.0) == [38.5]
    assert [event.name for event in in_time(heard, 50.0)] == ["ready", "begin"]


def test_a_guest_that_told_nothing_is_not_one_without_kills() -> None:
    done, killed = Event("done", 60.0, {"oom_kills": 0}), Event("oom", 12.0, {"oom_kills": 2})
    assert ooms_of([[READY, done], [READY, killed], [READY, begin(10.0)], []]) == (2, 2)
    unknown = Event("done", 60.0, {"oom_kills": -1})
    assert ooms_of([[unknown]]) == (0, 0)


@pytest.mark.parametrize(
    ("time_s", "stalled_s", "retried_s", "says"),
    [
        (20.0, 0.3, [0.0, 0.0], None),
        (20.0, None, [], None),  # a group of version 2
        (20.0, 1.04, [0.0, 0.0], "the guests' group had no memory to give for 1.0 s after the go"),
        (20.0, 0.2, [0.6, 0.0], "slept 0.3 s on the average before it read again what had failed"),
        (0.0, 0.2, [], "the guests' group"),
    ],
)
def test_time_that_the_lab_adds_is_told_when_it_is_more_than_a_little(
    time_s: float, stalled_s: float | None, retried_s: list[float], says: str | None
) -> None:
    said = stalled(time_s, stalled_s, retried_s)
    assert said is None if says is None else said is not None and says in said
