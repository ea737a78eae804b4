"""How much memory is wanted over time: shapes as a scenario states them, compiled into courses of straight lines."""

import math
from bisect import bisect_right
from random import Random
from typing import Any

import msgspec

from autoballoon.core.errors import AutoballoonError
from autoballoon.core.units import parse_duration, parse_size

LARGEST = 1 << 50
"""Of a size, 1 PiB, and far more than any time: more is a slip of the pen."""


class Size(int):
    """Bytes, written as "2GiB"."""


class Seconds(float):
    """Seconds, written as "250ms", "10s" or "2min"."""


def read_quantity(kind: type, value: Any) -> Any:
    """msgspec's hook for Size and Seconds: text with a unit in, the number out; ValueError says what is wrong."""
    parse = {Size: parse_size, Seconds: parse_duration}.get(kind)
    if parse is None:
        raise NotImplementedError(kind)
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} has no unit; write it like {'2GiB' if kind is Size else '10s'!r}")
    try:
        quantity = kind(parse(value))
    except AutoballoonError as error:
        raise ValueError(str(error)) from None
    if quantity > LARGEST:
        raise ValueError(f"{value:.40} is too much")
    return quantity


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="shape"):
    """A shape by name."""


class Steady(_Shape, frozen=True, tag="steady"):
    """Always `size`."""

    size: Size

    def lines(self, until: float, rng: Random) -> list[tuple[float, float]]:
        """Corner points (seconds, bytes) up to `until`."""
        return [(0.0, float(self.size))]


class Points(_Shape, frozen=True, tag="points"):
    """Straight lines between the `points`, [when, size] each; level before the first and after the last."""

    points: list[tuple[Seconds, Size]]

    def lines(self, until: float, rng: Random) -> list[tuple[float, float]]:
        """Corner points (seconds, bytes) up to `until`."""
        return [(float(at), float(size)) for at, size in self.points]


class Sawtooth(_Shape, frozen=True, tag="sawtooth"):
    """From `first` on, every `every`: from `low` up to `high` in `rise`, there for `hold`, and at once down again."""

    low: Size
    high: Size
    every: Seconds
    rise: Seconds
    hold: Seconds = Seconds(0)
    first: Seconds = Seconds(0)

    def lines(self, until: float, rng: Random) -> list[tuple[float, float]]:
        """Corner points (seconds, bytes) up to `until`."""
        made, at = [(0.0, float(self.low))], float(self.first)
        while at < until:
            top = at + self.rise
            made += [
                (at, self.low),
                (top, self.high),
                (top + self.hold, self.high),
                (top + self.hold, self.low),
            ]
            at += max(self.every, self.rise + self.hold)
        return made


class Diurnal(_Shape, frozen=True, tag="diurnal"):
    """A smooth day: `low` at its beginning, `high` half a `day` later, and back; `spread` shifts each guest's day by up
    to so much, at random."""

    low: Size
    high: Size
    day: Seconds
    spread: Seconds = Seconds(0)

    def lines(self, until: float, rng: Random) -> list[tuple[float, float]]:
        """Corner points (seconds, bytes) up to `until`: 48 a day."""
        shift = rng.uniform(0.0, self.spread)
        step = self.day / 48
        middle, swing = (self.low + self.high) / 2, (self.high - self.low) / 2
        return [
            (n * step, middle - swing * math.cos(2 * math.pi * (n * step + shift) / self.day))
            for n in range(int(until / step) + 2)
        ]


class Bursts(_Shape, frozen=True, tag="bursts"):
    """`low`, and now and then up to a random size between `low` and `high`: a build's compilers and linkers.

    A burst begins on average every `every` (uniformly from half to one and a half of it), rises in `rise` and
    lasts `lasts` (also from half to one and a half).
    """

    low: Size
    high: Size
    every: Seconds
    lasts: Seconds
    rise: Seconds = Seconds(1)

    def lines(self, until: float, rng: Random) -> list[tuple[float, float]]:
        """Corner points (seconds, bytes) up to `until`."""
        made, at = [(0.0, float(self.low))], rng.uniform(0.0, self.every)
        while at < until:
            high = rng.uniform(self.low + (self.high - self.low) / 4, self.high)
            lasts = self.lasts * rng.uniform(0.5, 1.5)
            end = at + self.rise + lasts
            made += [(at, self.low), (at + self.rise, high), (end, high), (end + self.rise / 2, self.low)]
            at = max(end + self.rise, at + self.every * rng.uniform(0.5, 1.5))
        return made


class Walk(_Shape, frozen=True, tag="walk"):
    """A random walk between `low` and `high`: every `every` a new size at most `step` away, reached evenly."""

    low: Size
    high: Size
    every: Seconds
    step: Size

    def lines(self, until: float, rng: Random) -> list[tuple[float, float]]:
        """Corner points (seconds, bytes) up to `until`."""
        size = rng.uniform(self.low, self.high)
        made = [(0.0, size)]
        for n in range(1, int(until / self.every) + 2):
            size = min(max(size + rng.uniform(-self.step, self.step), self.low), self.high)
            made.append((n * self.every, size))
        return made


Shape = Steady | Points | Sawtooth | Diurnal | Bursts | Walk


class Course:
    """A size over time, straight between its corners. Asking for later and later times is fast."""

    __slots__ = ("_at", "_i", "_sizes", "_times")

    def __init__(self, corners: list[tuple[float, float]], scale: float = 1.0, shift: float = 0.0) -> None:
        """`corners` are (seconds, bytes) in order of time; sizes times `scale`, times plus `shift`."""
        self._times = [-math.inf, *(at + shift for at, _ in corners), math.inf]
        first, last = corners[0][1] * scale, corners[-1][1] * scale
        self._sizes = [first, *(size * scale for _, size in corners), last]
        self._i = 0

    def at(self, now: float) -> float:
        """Bytes at `now`."""
        times = self._times
        i = self._i
        if now < times[i]:
            i = bisect_right(times, now) - 1
        while times[i + 1] <= now:
            i += 1
        self._i = i
        had, gets = self._sizes[i], self._sizes[i + 1]
        if had == gets:
            return had
        return had + (gets - had) * (now - times[i]) / (times[i + 1] - times[i])

    def most(self, begin: float, end: float) -> float:
        """The largest size in that time."""
        inside = self._sizes[bisect_right(self._times, begin) : bisect_right(self._times, end)]
        return max(self.at_any(begin), self.at_any(end), *inside)

    def at_any(self, now: float) -> float:
        """As `at`, and leaves the place where `at` looks alone."""
        kept = self._i
        size = self.at(now)
        self._i = kept
        return size


def course_of(shape: Shape, until: float, rng: Random, *, jitter: float = 0.0, shift: float = 0.0) -> Course:
    """The course of one guest: what is random drawn from `rng`, all sizes up to `jitter` (a part) larger or smaller."""
    scale = 1.0 + rng.uniform(-jitter, jitter)
    return Course(shape.lines(until, rng), scale, shift)
