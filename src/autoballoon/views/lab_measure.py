"""What lab results come to: factors of swapping, ratios of paired rounds, ranks of times.

A pair is two runs of the same round.
"""

from collections.abc import Callable, Iterable, Sequence
from math import ceil
from statistics import median

from autoballoon.core.units import size_text
from autoballoon.views.lab_results import ArmResult, Results, Run

Figure = Callable[[Run], float | None]
"""A number of one run; None where it is not known."""
SPIKES_HEAD = f"{'SPIKES':>8}{'FIRST p50':>11}{'p99':>8}{'WHOLE p50':>11}{'p99':>8}"
"""Over what `waits` tells, milliseconds."""


def load_text(results: Results) -> str:
    """How many guests on a host of what size, and what was not the usual: "8 guests under 2600 MiB, --period 20"."""
    limits = sorted({arm.limit for arm in results.arms if arm.limit is not None})
    guests = sorted({run.guests for arm in results.arms for run in arm.runs})
    sizes = " or ".join(map(size_text, limits)) or "no limit"
    return ", ".join([f"{' or '.join(map(str, guests))} guests under {sizes}", *results.differs])


def factor(without: int, with_: int) -> float:
    """How many times fewer `with_` is than `without`; zero counts as one, so then it is a lower bound."""
    return without / max(1, with_)


def factor_text(without: int, with_: int) -> str:
    """The factor for people: "634x fewer", "at least 634x fewer" when nothing is left."""
    times = factor(without, with_)
    return f"{'at least ' if with_ == 0 else ''}{f'{times:,.0f}' if times >= 100 else f'{times:.3g}'}x fewer"


def spread(values: Sequence[float], unit: str = "") -> str:
    """Median and range: "1.10 (1.02 to 1.31, 3 rounds)"; the value alone when there is one."""
    if len(values) == 1:
        return f"{values[0]:.2f}{unit}, one round"
    return f"{median(values):.2f}{unit} ({min(values):.2f} to {max(values):.2f}, {len(values)} rounds)"


def bound(runs: Iterable[Run]) -> str:
    """ ">" before a time of these runs that is a lower bound: some guest did not finish."""
    return "" if all(run.is_complete for run in runs) else ">"


def paired_ratios(results: Results, name: str, other: str, of: Figure) -> list[float]:
    """A figure of the one arm over that of the other, round by round, where both are known and the other's is not 0."""
    return [
        first / second
        for one, two in results.pairs(name, other)
        if (first := of(one)) is not None and (second := of(two))
    ]


def time_ratios(results: Results, name: str, other: str) -> list[float]:
    """TIME of one arm over TIME of the other, round by round."""
    return paired_ratios(results, name, other, lambda run: run.time_s)


def worst_phase_ratios(results: Results, name: str, other: str) -> list[float]:
    """Longest phase of one arm over the longest of the other, round by round."""
    return paired_ratios(results, name, other, lambda run: run.worst_phase_s)


def at_rank(times: Sequence[float | None], part: float) -> float | None:
    """The time that this part of all stay within (nearest rank); None is later than any other."""
    if not times:
        return None
    ordered = sorted(times, key=lambda time: float("inf") if time is None else time)
    return ordered[ceil(part * len(ordered)) - 1]


def spikes_of(arm: ArmResult, name: str) -> list[float | None]:
    """The times of that name, as "first_s", of all its runs together."""
    return [time for run in arm.counted for time in run.extra.get(name, [])]


def ms_text(times: Sequence[float | None], part: float) -> str:
    """The time that this part of all stay within, milliseconds; "never", or "-" where there are none."""
    if not times:
        return "-"
    time = at_rank(times, part)
    return "never" if time is None else f"{time * 1000:.0f}"


def waits(firsts: Sequence[float | None], wholes: Sequence[float | None]) -> str:
    """How many spikes, and how soon they got their first page and all of it: five columns."""
    return (
        f"{len(firsts):>8}"
        f"{ms_text(firsts, 0.5):>11}{ms_text(firsts, 0.99):>8}{ms_text(wholes, 0.5):>11}{ms_text(wholes, 0.99):>8}"
    )
