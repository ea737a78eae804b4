"""A criterion that results must reach, and the kinds of it that several experiments have."""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from statistics import median

import msgspec

from autoballoon.views.lab_measure import (
    Figure,
    factor,
    factor_text,
    paired,
    spread,
)
from autoballoon.views.lab_results import Results, Run


class Verdict(msgspec.Struct, frozen=True):
    """One criterion: what was asked, what was measured, and whether that is enough (None: cannot be judged)."""

    asks: str
    measured: str
    met: bool | None


Pages = Callable[[Run], int]
IN: tuple[str, Pages] = ("in", lambda run: run.swap_in_pages)
OUT: tuple[str, Pages] = ("out", lambda run: run.swap_out_pages)


def fewer(results: Results, base: str, way: tuple[str, Pages], least: float, arm: str = "on") -> Verdict:
    """Swapping of `arm` against `base`, one way, in every round: the worst round speaks.

    Where a guest was lost the others had its memory, and swapping little is no merit.
    """
    direction, pages = way
    asks = f"{arm} swaps {direction} at least {least:g}x fewer pages than {base}, in every run"
    pairs = [(pages(b), pages(a)) for a, b in results.pairs(arm, base)]
    if not pairs:
        return Verdict(asks, f"{base} and {arm} were not both run", None)
    without, with_ = min(pairs, key=lambda pair: factor(*pair))
    if without == 0 and with_ == 0:
        return Verdict(asks, f"{base} did not swap {direction} either", None)
    measured, met = (
        f"{factor_text(without, with_)} ({without:,} -> {with_:,})",
        factor(without, with_) >= least,
    )
    return unless_lost(Verdict(asks, measured, met), arm, (run for run, _ in results.pairs(arm, base)))


def lost(arm: str, runs: Iterable[Run]) -> str:
    """In which rounds guests of the arm did not finish, in words; empty where all did."""
    rounds = [str(run.round) for run in runs if not run.is_complete]
    return f"not every guest of {arm} finished in round {' and '.join(rounds)}" if rounds else ""


def unless_lost(verdict: Verdict, arm: str, runs: Iterable[Run]) -> Verdict:
    """The same, but not judged where it would be reached by runs in which guests of the arm did not finish."""
    why = lost(arm, runs)
    return Verdict(verdict.asks, f"{verdict.measured}; {why}", None) if verdict.met and why else verdict


def _within(
    asks: str,
    found: Sequence[tuple[Run, Run, float]],
    most: float,
    arm: str,
    speaks: Callable[[Iterable[float]], float] = median,
) -> Verdict:
    """Whether the ratio that speaks for all rounds is at most `most`; `found` are paired runs and their ratios.

    That of a run in which a guest of `arm` did not finish is not known: its time ended too early, and the others had
    its memory. Over a run of the other arm that did not finish it is an upper bound, by which a criterion can be
    reached and not missed.
    """
    at_most = speaks([each if one.is_complete else inf for one, _, each in found])
    at_least = speaks([each if one.is_complete and two.is_complete else 0.0 for one, two, each in found])
    known = [each for one, _, each in found if one.is_complete]
    bound = "" if all(two.is_complete for one, two, _ in found if one.is_complete) else "at most "
    why = lost(arm, (one for one, _, _ in found))
    told = [*([bound + spread(known, "x")] if known else []), *([why] if why else [])]
    return Verdict(asks, "; ".join(told), True if at_most <= most else False if at_least > most else None)


def at_most(results: Results, what: str, of: Figure, base: str, most: float, arm: str) -> Verdict:
    """That figure of `arm` over that of `base`, the median of rounds in which both are known."""
    asks = f"{what} of {arm} is at most {most:.3g} x that of {base} (median of paired rounds)"
    found = paired(results, arm, base, of)
    return _within(asks, found, most, arm) if found else Verdict(asks, untold(results, base, arm), None)


def time_at_most(results: Results, base: str, most: float, arm: str = "on") -> Verdict:
    """The same of TIME."""
    return at_most(results, "busy time", lambda run: run.time_s, base, most, arm)


def untold(results: Results, base: str, arm: str) -> str:
    """Why there is no pair of figures."""
    both = next(results.pairs(arm, base), None)
    return f"{base} and {arm} " + ("do not both tell of it" if both else "were not both run")


def lost_at_most(results: Results, base: str, most: float) -> Verdict:
    """Judged is the time beyond the yardstick's: nothing could take away more of `base` than that."""
    asks = (
        f"busy time that on loses to missing memory is at most {most:.3g} x what {base} loses"
        " (median of paired rounds)"
    )
    ideals = {one.round: ideal.time_s for one, ideal in results.pairs("on", "yardstick") if ideal.is_complete}
    found = [
        (one, two, (one.time_s - least) / (two.time_s - least))
        for one, two in results.pairs("on", base)
        if one.time_s and two.time_s and (least := ideals.get(one.round)) and two.time_s > least
    ]
    if not found:
        return Verdict(asks, f"{base}, on and yardstick were not all run, or {base} lost nothing", None)
    return _within(asks, found, most, "on")


def worst_phase_at_most(results: Results, base: str, most: float) -> Verdict:
    """The longest phase of `on` over that of `base`: the worst round speaks."""
    asks = f"worst phase of on is at most {most:g} x the worst of {base}, in every run"
    found = paired(results, "on", base, lambda run: run.worst_phase_s)
    return (
        _within(asks, found, most, "on", max) if found else Verdict(asks, untold(results, base, "on"), None)
    )
