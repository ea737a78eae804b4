"""tools/balloon_picture.py FOLDER ARM...: how large balloons were, from a lab run's samples, as an SVG on stdout.

A panel for each arm: a thin line for each guest, a thick one for their mean.
"""

import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec

from autoballoon.core.units import MIB
from autoballoon.views.lab_results import Sample

WIDTH, PANEL, LEFT, TOP, BETWEEN = 720, 130, 52, 26, 44
SECONDS, SIZES = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200), (20, 50, 100, 200, 500, 1000)
GUEST, MEAN, INK, RULE = "#4f86c6", "#1f4e79", "#333333", "#d8d8d8"

Line = list[tuple[float, float]]


def balloons(samples: Sequence[Sample]) -> dict[str, Line]:
    """By guest: (seconds since the first boot, MiB in its balloon)."""
    lines: dict[str, Line] = {}
    for sample in samples:
        for guest in sample.snapshot.guests:
            lines.setdefault(guest.name, []).append((sample.at_s, (guest.max - guest.actual) / MIB))
    return lines


def mean_of(samples: Sequence[Sample]) -> Line:
    """(seconds, MiB): the mean of all balloons that were there at that moment."""
    held = [
        (sample.at_s, [(guest.max - guest.actual) / MIB for guest in sample.snapshot.guests])
        for sample in samples
    ]
    return [(at, sum(sizes) / len(sizes)) for at, sizes in held if sizes]


def picture(runs: Sequence[tuple[str, Sequence[Sample]]]) -> str:
    """The SVG of these arms, in this order, on common scales. ValueError where there is nothing to draw."""
    drawn = [(name, balloons(samples), mean_of(samples)) for name, samples in runs]
    points = [point for _, lines, _ in drawn for line in lines.values() for point in line]
    if not points or not all(lines for _, lines, _ in drawn):
        raise ValueError("there is an arm of which no sample shows a guest")
    most_s, most_mib = max(at for at, _ in points), max(50.0, *(mib for _, mib in points))
    height = TOP + len(drawn) * (PANEL + BETWEEN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="11" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (name, lines, mean) in enumerate(drawn):
        top = TOP + number * (PANEL + BETWEEN)
        parts += _axes(name, top, most_s, most_mib)
        for line in lines.values():
            parts.append(_path(line, top, most_s, most_mib, f'stroke="{GUEST}" stroke-width="1"'))
        parts.append(_path(mean, top, most_s, most_mib, f'stroke="{MEAN}" stroke-width="2.5"'))
    return "\n".join([*parts, "</svg>", ""])


def _axes(name: str, top: int, most_s: float, most_mib: float) -> list[str]:
    parts = [
        f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{escape(name)}: MiB in the balloon of each guest '
        "(thin) and on average (thick)</text>"
    ]
    for mib in _ticks(most_mib, 4, SIZES):
        y = _y(mib, top, most_mib)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 12}" y1="{y}" y2="{y}" stroke="{RULE}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{mib}</text>')
    for at in _ticks(most_s, 8, SECONDS):
        parts.append(f'<text x="{_x(at, most_s)}" y="{top + PANEL + 15}" text-anchor="middle">{at} s</text>')
    return parts


def _path(line: Line, top: int, most_s: float, most_mib: float, style: str) -> str:
    points = " ".join(f"{_x(at, most_s)},{_y(mib, top, most_mib)}" for at, mib in line)
    return f'<polyline points="{points}" fill="none" {style}/>'


def _x(at_s: float, most_s: float) -> float:
    return round(LEFT + at_s / most_s * (WIDTH - LEFT - 24), 1)


def _y(mib: float, top: int, most_mib: float) -> float:
    return round(top + PANEL * (1 - mib / most_mib), 1)


def _ticks(most: float, about: int, steps: Sequence[int]) -> range:
    step = next((step for step in steps if most / step <= about), steps[-1])
    return range(0, int(most) + 1, step)


def main(words: Sequence[str]) -> int:
    """The exit code: 0, or 2 where the folder or an arm is not there."""
    if len(words) < 2:
        print("balloon_picture: give a results folder of `lab run`, and one arm or more", file=sys.stderr)
        return 2
    file = Path(words[0]) / "samples.jsonl"
    try:
        samples = [msgspec.json.decode(line, type=Sample) for line in file.read_bytes().splitlines()]
        runs = [(arm, [s for s in samples if (s.arm, s.round) == (arm, 1)]) for arm in words[1:]]
        print(picture(runs), end="")
    except (OSError, msgspec.DecodeError, ValueError) as trouble:
        print(f"balloon_picture: {file}: {trouble}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
