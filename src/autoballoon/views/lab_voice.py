"""How soon guests were given what they took, and what it cost them, an arm a row."""

from collections.abc import Iterable, Sequence
from statistics import median

from autoballoon.views.lab_driver import moved_pages
from autoballoon.views.lab_measure import SPIKES_HEAD, at_rank, bound, ms_text, spikes_of, time_ratios, waits
from autoballoon.views.lab_results import Results

HEAD = (
    f"{'ARM':<16}{'TIME':>8}{'SWAP IN':>11}{'SWAP OUT':>11}{'OOM':>5}{'PSI(s)':>9}{'MOVED':>12}{SPIKES_HEAD}"
    f"{'SHORT':>8}{'FIRST p50':>11}{'p99':>8}{'WHOLE p50':>11}{'p99':>8}"
)

CLOSE = 1.5
"""Times the agent's median: a choice, for rounds of 15 spikes differ by more than that (docs/reference/lab.md)."""


def _middle(values: Sequence[float | int | None], form: str) -> str:
    """The median over runs as text; "-" where one is not known."""
    known = [value for value in values if value is not None]
    return format(median(known), form) if known and len(known) == len(values) else "-"


def _asked_or_agent(results: Results) -> Iterable[str]:
    """Whether it takes an agent: a guest near its edge can be asked instead."""
    asked, agent = results.arm("asked"), results.arm("agent")
    if asked is None or agent is None:
        return
    for name, since in (("first_short_s", "when guests ran short"), ("first_s", "their first byte")):
        one, other = spikes_of(asked, name), spikes_of(agent, name)
        if one and other:
            late, soon = (at_rank(times, 0.5) for times in (one, other))
            close = late is not None and (soon is None or late <= CLOSE * soon)
            yield (
                f"first page from {since} on, p50 in ms: {ms_text(one, 0.5)} if asked, {ms_text(other, 0.5)} with the"
                f" agent: asked-for statistics {'come close' if close else 'do not come close'} (within {CLOSE:g} x)"
            )


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
        time = f"{bound(runs)}{median(ratios):.2f}x" if ratios else "-"
        yield (
            f"{arm.name:<16}{time:>8}{_middle([run.swap_in_pages for run in runs], ',.0f'):>11}"
            f"{_middle([run.swap_out_pages for run in runs], ',.0f'):>11}{sum(run.guest_oom for run in runs):>5}"
            f"{_middle([run.extra.get('guests_psi_s') for run in runs], '.2f'):>9}"
            f"{_middle([moved_pages(run) for run in runs], ',.0f'):>12}"
            f"{waits(spikes_of(arm, 'first_s'), spikes_of(arm, 'whole_s'))}"
            f"{waits(spikes_of(arm, 'first_short_s'), spikes_of(arm, 'whole_short_s'))}"
        )
    yield from _asked_or_agent(results)
