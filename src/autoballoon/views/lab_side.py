"""The arms of an experiment with variants side by side: a row for each arm, a group of columns for each variant."""

from collections.abc import Iterable
from statistics import median

import msgspec

from autoballoon.views.lab_measure import time_ratios
from autoballoon.views.lab_results import ArmResult, Results


class Cell(msgspec.Struct, frozen=True):
    """One arm in one variant, medians over its rounds; None where there is nothing to tell."""

    time: float | None
    """Busy time as a multiple of the yardstick's, of the same round."""
    is_bound: bool
    """Some guest did not finish: the time is a lower bound."""
    after_go_s: float | None
    """Wall seconds from the go until the last guest was done."""
    pages: int | None
    """Pages that the host swapped, in and out."""


HEAD = ("TIME", "WALL(s)", "PAGES")
"""Of each variant: busy time over the yardstick's, wall seconds after the go, pages swapped in and out."""


def cell(results: Results, variant: str, short: str) -> Cell | None:
    """What that arm came to in that variant; None when it was not run there."""
    arm = results.arm(results.within(variant, short))
    if arm is None:
        return None
    ratios = time_ratios(results, arm.name, results.within(variant, "yardstick"))
    walls = [run.after_go_s for run in arm.counted if run.after_go_s is not None]
    return Cell(
        time=median(ratios) if ratios else None,
        is_bound=not all(run.is_complete for run in arm.counted),
        after_go_s=median(walls) if walls else None,
        pages=round(median(run.swap_in_pages + run.swap_out_pages for run in arm.counted)),
    )


def rows(results: Results) -> list[tuple[str, list[Cell | None]]]:
    """Each arm with its cells, variant by variant."""
    shorts = dict.fromkeys(arm.short for arm in results.arms if arm.runs)
    return [(short, [cell(results, variant, short) for variant in results.variants]) for short in shorts]


def words(found: Cell | None) -> tuple[str, str, str]:
    """The cell's three columns as text."""
    if found is None:
        return "-", "-", "-"
    bound = ">" if found.is_bound else ""
    return (
        "-" if found.time is None else f"{bound}{found.time:.2f}x",
        "-" if found.after_go_s is None else f"{bound}{found.after_go_s:.0f}",
        "-" if found.pages is None else f"{found.pages:,}",
    )


def side_by_side(results: Results) -> Iterable[str]:
    """The table in text, line by line; nothing for an experiment without variants."""
    if results.variants == [""]:
        return
    yield "Busy time over the yardstick's, seconds after the go, pages swapped (medians over rounds):"
    yield f"{'':<14}" + "".join(f"{variant:>34}" for variant in results.variants)
    yield f"{'ARM':<14}" + f"{HEAD[0]:>10}{HEAD[1]:>10}{HEAD[2]:>14}" * len(results.variants)
    for short, cells in rows(results):
        told = (words(found) for found in cells)
        yield f"{short:<14}" + "".join(f"{time:>10}{wall:>10}{pages:>14}" for time, wall, pages in told)


def best_of(results: Results, variant: str, arms: Iterable[ArmResult]) -> tuple[str, float] | None:
    """The arm with the least busy time in that variant, and that over the yardstick's; lower bounds do not count."""
    found = []
    for arm in arms:
        told = cell(results, variant, arm.short)
        if told is not None and told.time is not None and not told.is_bound:
            found.append((told.time, arm.short))
    return (min(found)[1], min(found)[0]) if found else None
