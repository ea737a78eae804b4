"""A criterion that results must reach, and the kinds of it that several experiments have."""

from collections.abc import Callable, Iterable
from math import inf
from statistics import median

import msgspec

from autoballoon.views.lab_measure import (
    Figure,
    factor,
    factor_text,
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


def _paired(results: Results, arm: str, base: str, of: Figure) -> list[tuple[Run, Run, float]]:
    """Runs of both arms from the same round, and that figure of the one over that of the other.

    Infinite where the base has none of it, and where a guest of `arm` did not finish: its time ended too early, and the
    others had its memory. A round in which neither has any tells nothing, nor does one whose base is noisy.
    """
    found = []
    for one, two in results.pairs(arm, base):
        first, second = of(one), of(two)
        if two.noisy:
            continue
        if not one.is_complete:
            found.append((one, two, inf))
        elif first is not None and second is not None and (first or second):
            found.append((one, two, first / second if second else inf))
    return found


def _judged(
    results: Results,
    asks: str,
    of: Figure,
    base: str,
    most: float,
    arm: str,
    speaks: Callable[[Iterable[float]], float] = median,
) -> Verdict:
    """Whether the ratio that speaks for all rounds is at most `most`.

    That of a run in which a guest of `arm` did not finish is not known, but no merit. Over a run of the other arm that
    did not finish it is an upper bound, by which a criterion can be reached and not missed.
    """
    found = _paired(results, arm, base, of)
    if not found:
        return Verdict(asks, untold(results, base, arm), None)
    at_most = speaks([each for _, _, each in found])
    at_least = speaks([each if one.is_complete and two.is_complete else 0.0 for one, two, each in found])
    known = [(two, each) for one, two, each in found if one.is_complete and each < inf]
    none = [str(one.round) for one, _, each in found if one.is_complete and each == inf]
    bound = "" if all(two.is_complete for two, _ in known) else "at most "
    told = [
        bound + spread([each for _, each in known], "x") if known else "",
        f"{base} has none of it in round {' and '.join(none)}" if none else "",
        lost(arm, (one for one, _, _ in found)),
    ]
    met = True if at_most <= most else False if at_least > most else None
    return Verdict(asks, "; ".join(filter(None, told)), met)


def at_most(results: Results, what: str, of: Figure, base: str, most: float, arm: str) -> Verdict:
    """That figure of `arm` over that of `base`, the median of rounds in which both are known."""
    asks = f"{what} of {arm} is at most {most:.3g} x that of {base} (median of paired rounds)"
    return _judged(results, asks, of, base, most, arm)


def time_at_most(results: Results, base: str, most: float, arm: str = "on") -> Verdict:
    """The same of TIME."""
    return at_most(results, "busy time", lambda run: run.time_s, base, most, arm)


def untold(results: Results, base: str, arm: str) -> str:
    """Why there is no pair of figures."""
    pairs = list(results.pairs(arm, base))
    if pairs and all(two.noisy for _, two in pairs):
        return f"the machine swapped by itself in every run of {base}"
    return f"{base} and {arm} " + ("do not both tell of it" if pairs else "were not both run")


def lost_at_most(results: Results, base: str, most: float) -> Verdict:
    """Judged is the time beyond the yardstick's: nothing could take away more of `base` than that."""
    asks = (
        f"busy time that on loses to missing memory is at most {most:.3g} x what {base} loses"
        " (median of paired rounds)"
    )
    ideal = results.arm("yardstick")
    least = (
        {run.round: run.time_s for run in ideal.runs if run.is_complete and not run.noisy} if ideal else {}
    )

    def loss_s(run: Run) -> float | None:
        usual_s = least.get(run.round)
        return None if run.time_s is None or usual_s is None else max(0.0, run.time_s - usual_s)

    if not any(loss_s(run) for pair in results.pairs("on", base) for run in pair):
        why = f"{base}, on and a quiet yardstick were not all run, or neither lost any"
        return Verdict(asks, why, None)
    return _judged(results, asks, loss_s, base, most, "on")


def worst_phase_at_most(results: Results, base: str, most: float) -> Verdict:
    """The longest phase of `on` over that of `base`: the worst round speaks."""
    asks = f"worst phase of on is at most {most:g} x the worst of {base}, in every run"
    return _judged(results, asks, lambda run: run.worst_phase_s, base, most, "on", max)
