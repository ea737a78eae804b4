"""Courses: sizes over time, worked out by hand."""

from random import Random
from typing import Any

import msgspec
import pytest

from autoballoon.core.units import MIB
from autoballoon.sim.course import Course, Seconds, Shape, Size, course_of, read_quantity


def course(shape: dict[str, Any], until: float = 100.0) -> Course:
    made: Shape = msgspec.convert(shape, Shape, dec_hook=read_quantity)
    return course_of(made, until, Random(7))


POINTS = {
    "shape": "points",
    "points": [["10s", "100MiB"], ["20s", "300MiB"], ["20s", "50MiB"], ["30s", "50MiB"]],
}
TOOTH = {
    "shape": "sawtooth",
    "low": "10MiB",
    "high": "110MiB",
    "every": "20s",
    "rise": "10s",
    "hold": "5s",
    "first": "5s",
}
DAY = {"shape": "diurnal", "low": "100MiB", "high": "300MiB", "day": "96s"}


@pytest.mark.parametrize(
    ("shape", "at", "mib"),
    [
        ({"shape": "steady", "size": "70MiB"}, 0, 70),
        ({"shape": "steady", "size": "70MiB"}, 1e6, 70),
        (POINTS, 0, 100),
        (POINTS, 10, 100),
        (POINTS, 15, 200),
        (POINTS, 19.999, 300),
        (POINTS, 20, 50),
        (POINTS, 99, 50),
        (TOOTH, 4, 10),
        (TOOTH, 10, 60),
        (TOOTH, 17, 110),
        (TOOTH, 20.001, 10),
        (TOOTH, 35, 110),
        (DAY, 0, 100),
        (DAY, 24, 200),
        (DAY, 48, 300),
        (DAY, 72, 200),
    ],
)
def test_a_size_at_a_time(shape: dict[str, Any], at: float, mib: float) -> None:
    assert course(shape).at(at) / MIB == pytest.approx(mib, abs=0.1)


def test_time_may_go_back() -> None:
    one = course(POINTS)
    assert one.at(50) == 50 * MIB
    assert one.at(15) == 200 * MIB


@pytest.mark.parametrize(
    ("begin", "end", "mib"), [(0, 5, 100), (0, 15, 200), (12, 40, 300), (21, 22, 50), (17, 17, 240)]
)
def test_the_most_in_a_time(begin: float, end: float, mib: int) -> None:
    assert course(POINTS).most(begin, end) == mib * MIB


@pytest.mark.parametrize(
    "shape",
    [
        {"shape": "bursts", "low": "10MiB", "high": "90MiB", "every": "5s", "lasts": "2s"},
        {"shape": "walk", "low": "10MiB", "high": "90MiB", "every": "1s", "step": "30MiB"},
        {"shape": "diurnal", "low": "10MiB", "high": "90MiB", "day": "20s", "spread": "9s"},
    ],
)
def test_what_is_random_stays_within_its_bounds_and_comes_from_the_seed(shape: dict[str, Any]) -> None:
    one, two = course(shape), course(shape)
    sizes = [one.at(n / 10) for n in range(1000)]
    assert sizes == [two.at(n / 10) for n in range(1000)]
    assert 10 * MIB - 1 <= min(sizes) < max(sizes) <= 90 * MIB + 1


def test_jitter_scales_and_shift_delays() -> None:
    steady: Shape = msgspec.convert(POINTS, Shape, dec_hook=read_quantity)
    late = course_of(steady, 100.0, Random(1), shift=5.0)
    assert late.at(20) == 200 * MIB
    sizes = {course_of(steady, 100.0, Random(n), jitter=0.2).at(0) for n in range(20)}
    assert len(sizes) == 20
    assert all(80 * MIB <= size <= 120 * MIB for size in sizes)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Size, 5),
        (Size, "5"),
        (Size, "-5MiB"),
        (Size, "2PiB"),
        (Seconds, "5"),
        (Seconds, 1.0),
        (Size, "99999TiB"),
    ],
)
def test_a_quantity_without_a_sound_unit_is_refused(kind: type, value: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_quantity(kind, value)
