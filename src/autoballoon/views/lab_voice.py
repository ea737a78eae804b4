"""How soon guests were given what they took, and what it cost them, an arm a row."""

from collections.abc import Iterable, Sequence
from statistics import median

from autoballoon.views.lab_results import ArmResult, Results
from autoballoon.views.lab_verdict import at_rank, spikes_of, time_ratios

HEAD = (
    f"{'ARM':<16}{'TIME':>8}{'SWAP IN':>11}{'SWAP OUT':>11}{'OOM':>5}{'PSI(s)':>9}{'MOVED':>12}"
    f"{'SPIKES':>8}{'FIRST p50':>11}{'p99':>8}{'WHOLE p50':>11}{'p99':>8}"
    f"{'SHORT':>8}{'FIRST p50':>11}{'p99':>8}{'WHOLE p50':>11}{'p99':>8}"
)


def _ms(times: Sequence[float | None], part: float) -> str:
    if not times:
        return "-"
    time = at_rank(times, part)
    return "never" if time is None else f"{time * 1000:.0f}"


def _waits(arm: ArmResult, first: str, whole: str) -> str:
    """How many spikes, and how soon they got their first page and all of it."""
    firsts, wholes = spikes_of(arm, first), spikes_of(arm, whole)
    return (
        f"{len(firsts):>8}"
        f"{_ms(firsts, 0.5):>11}{_ms(firsts, 0.99):>8}{_ms(wholes, 0.5):>11}{_ms(wholes, 0.99):>8}"
    )


def _middle(values: Sequence[float | int | None], form: str) -> str:
    """The median over runs as text; "-" where one is not known."""
    known = [value for value in values if value is not None]
    return format(median(known), form) if known and len(known) == len(values) else "-"


def moved_pages(extra: dict[str, int | None]) -> int | None:
    """Pages that went into balloons and out of them in one run; None when no guest told."""
    inflated, kept = extra.get("inflated_pages"), extra.get("kept_pages")
    return None if inflated is None or kept is None else 2 * inflated - kept


def voice_rows(results: Results) -> Iterable[str]:
    """The table in text, line by line; nothing for another experiment."""
    if results.experiment not in ("guest-side", "headrooms"):
        return
    yield "Guests that take more than they have. TIME over the yardstick's; PSI: in which something in a guest waited"
    yield "for memory, all guests; MOVED: pages, into and out of balloons (medians over rounds). SPIKES that lacked"
    yield "memory; milliseconds to the first page given and to all that was lacking; never: the guest was done before."
    yield "SHORT: those of them that had less than 8 MiB available at some time before; milliseconds from then on."
    yield HEAD
    for arm in results.arms:
        runs = arm.counted
        if not runs:
            continue
        ratios = time_ratios(results, arm.name, "yardstick")
        bound = "" if all(run.is_complete for run in runs) else ">"
        time = f"{bound}{median(ratios):.2f}x" if ratios else "-"
        yield (
            f"{arm.name:<16}{time:>8}{_middle([run.swap_in_pages for run in runs], ',.0f'):>11}"
            f"{_middle([run.swap_out_pages for run in runs], ',.0f'):>11}{sum(run.guest_oom for run in runs):>5}"
            f"{_middle([run.extra.get('guests_psi_s') for run in runs], '.2f'):>9}"
            f"{_middle([moved_pages(run.extra) for run in runs], ',.0f'):>12}"
            f"{_waits(arm, 'first_s', 'whole_s')}{_waits(arm, 'first_short_s', 'whole_short_s')}"
        )
