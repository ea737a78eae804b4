"""A criterion that results must reach, and the kinds of it that several experiments have."""

from collections.abc import Callable
from statistics import median

import msgspec

from autoballoon.views.lab_measure import (
    Figure,
    factor,
    factor_text,
    paired_ratios,
    spread,
    worst_phase_ratios,
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
    """Swapping of `arm` against `base`, one way, in every round: the worst round speaks."""
    direction, pages = way
    asks = f"{arm} swaps {direction} at least {least:g}x fewer pages than {base}, in every run"
    pairs = [(pages(b), pages(a)) for a, b in results.pairs(arm, base)]
    if not pairs:
        return Verdict(asks, f"{base} and {arm} were not both run", None)
    without, with_ = min(pairs, key=lambda pair: factor(*pair))
    if without == 0 and with_ == 0:
        return Verdict(asks, f"{base} did not swap {direction} either", None)
    return Verdict(
        asks, f"{factor_text(without, with_)} ({without:,} -> {with_:,})", factor(without, with_) >= least
    )


def at_most(results: Results, what: str, of: Figure, base: str, most: float, arm: str) -> Verdict:
    """That figure of `arm` over that of `base`, the median of rounds in which both are known."""
    asks = f"{what} of {arm} is at most {most:.3g} x that of {base} (median of paired rounds)"
    found = paired_ratios(results, arm, base, of)
    return Verdict(
        asks,
        spread(found, "x") if found else untold(results, base, arm),
        median(found) <= most if found else None,
    )


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
    ideals = {one.round: ideal.time_s for one, ideal in results.pairs("on", "yardstick")}
    ratios = [
        (one.time_s - least) / (two.time_s - least)
        for one, two in results.pairs("on", base)
        if one.time_s and two.time_s and (least := ideals.get(one.round)) and two.time_s > least
    ]
    if not ratios:
        return Verdict(asks, f"{base}, on and yardstick were not all run, or {base} lost nothing", None)
    return Verdict(asks, spread(ratios, "x"), median(ratios) <= most)


def worst_phase_at_most(results: Results, base: str, most: float) -> Verdict:
    """The longest phase of `on` over that of `base`: the worst round speaks."""
    asks = f"worst phase of on is at most {most:g} x the worst of {base}, in every run"
    ratios = worst_phase_ratios(results, "on", base)
    if not ratios:
        return Verdict(asks, untold(results, base, "on"), None)
    return Verdict(asks, spread(ratios, "x"), max(ratios) <= most)
