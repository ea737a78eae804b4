"""The lab's table in text: arm by arm, run by run, beside the numbers of 2013, and what had to be reached."""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from statistics import fmean, median

from autoballoon.core.units import MIB, size_text
from autoballoon.views.lab_driver import balloon_rows
from autoballoon.views.lab_measure import (
    bound,
    factor_text,
    load_text,
    spread,
    time_ratios,
    worst_phase_ratios,
)
from autoballoon.views.lab_results import ArmResult, Results, Run
from autoballoon.views.lab_side import best_of, side_by_side
from autoballoon.views.lab_verdict import verdicts
from autoballoon.views.lab_voice import voice_rows

SEED = {
    "off": ((634, 930980, 1588522), (610, 627422, 1362174), (649, 1079847, 1616367), (543, 953289, 1635379),
            (642, 913237, 1514000)),
    "on": ((629, 901, 12537), (624, 981, 18506), (626, 573, 9085), (631, 2250, 42534), (627, 1610, 20808)),
}  # fmt: skip
"""TIME (s), SWAP IN, SWAP OUT (pages) of the proposal of May 2013: 35 guests x 1 GiB, each building a kernel."""

_HEAD = (
    f"{'ARM':<16}{'RUN':>4}{'TIME(s)':>10}{'SWAP IN':>13}{'SWAP OUT':>13}"
    f"{'FINISHED':>10}{'OOM':>5}{'WORST PHASE(s)':>16}"
)


def _seconds(value: float | None, more: str) -> str:
    return "-" if value is None else f"{more}{value:.2f}"


def _row(arm: ArmResult, run: Run) -> str:
    more = bound([run])
    return (
        f"{arm.name:<16}{run.round:>4}{_seconds(run.time_s, more):>10}{run.swap_in_pages:>13,}"
        f"{run.swap_out_pages:>13,}{f'{run.finished}/{run.guests}':>10}{run.guest_oom:>5}"
        f"{_seconds(run.worst_phase_s, more):>16}{'  noisy' if run.noisy else ''}"
    )


def _seed_rows() -> Iterable[str]:
    yield "For comparison, the proposal of 2013 (35 guests x 1 GiB building kernels, 32 GB host):"
    for name, runs in SEED.items():
        for number, (time_s, swap_in, swap_out) in enumerate(runs, 1):
            yield f"{name:<16}{number:>4}{time_s:>10}{swap_in:>13,}{swap_out:>13,}"
    yield "  on against off, mean: swap in 713x fewer, out 75x fewer"


def _ratio_rows(results: Results) -> Iterable[str]:
    for name in ("on", "on+reporting"):
        for one, base in results.pairs(name, "off"):
            yield (
                f"{name} against off, round {one.round}: "
                f"in {factor_text(base.swap_in_pages, one.swap_in_pages)}, "
                f"out {factor_text(base.swap_out_pages, one.swap_out_pages)}"
            )
    for name in ("off", "reporting", "on", "on+reporting"):
        times = time_ratios(results, name, "yardstick")
        worst = worst_phase_ratios(results, name, "yardstick")
        if times:
            more = bound(run for run, _ in results.pairs(name, "yardstick"))
            yield f"{name} / yardstick: time {more}{spread(times, 'x')}" + (
                f"; worst phase {more}{spread(worst, 'x')}" if worst else ""
            )


def _held_rows(results: Results) -> Iterable[str]:
    """How much of what guests would hold they may hold, variant by variant."""
    for variant in results.variants:
        name = results.within(variant, "yardstick")
        ideal = results.arm(name)
        peaks = (
            [run.extra["held_peak"] for run in ideal.counted if run.extra.get("held_peak")] if ideal else []
        )
        for limit in sorted({arm.limit for arm in results.arms if arm.variant == variant and arm.limit}):
            if peaks:
                peak = round(median(peaks))
                yield f"{name} held {size_text(peak)} at most; {size_text(limit)} are {limit / peak:.0%} of that"


def _cost_rows(results: Results) -> Iterable[str]:
    for arm in results.arms:
        for run in arm.runs:
            if said := controller_line(run):
                yield f"{arm.name}, round {run.round}: {said}"
    shares = [
        run.extra["lab_cpu_s"] / run.wall_s
        for arm in results.arms
        for run in arm.runs
        if "lab_cpu_s" in run.extra
    ]
    if shares:
        yield f"the lab itself (consoles, instruments): {min(shares):.1%} to {max(shares):.1%} of one core in every arm"


def _late_rows(results: Results) -> Iterable[str]:
    """By how much guests overslept the pauses that keep their pace, where they make any: no part of TIME."""
    for arm in results.arms:
        told = [[sum(phases) for phases in run.extra.get("late_s", []) if phases] for run in arm.counted]
        late = [median(guests) for guests in told if guests]
        if any(late):
            yield (
                f"{arm.name}: guests woke late by {spread(late, ' s')} in all, the median of them; "
                "TIME leaves that out"
            )


def headline(results: Results) -> str:
    """One sentence: what the controller changed, as means over the rounds in which both arms ran."""
    pairs = list(results.pairs("on", "off"))
    if not pairs and results.variants != [""] and any(arm.limit is None for arm in results.arms):
        return _best_in_each(results)
    if not pairs:
        return f"{results.experiment}: {', '.join(arm.name for arm in results.arms)} measured."
    on, off = ([pair[side] for pair in pairs] for side in (0, 1))
    ideal = results.arm("yardstick")
    endless = f", and {_mean_time(ideal.counted)} if memory were endless" if ideal else ""
    arm = results.arm("on")
    rule = f" under the policy {arm.policy}" if arm and arm.policy not in (None, "ladder") else ""
    into, out = _mean(lambda run: run.swap_in_pages), _mean(lambda run: run.swap_out_pages)
    return (
        f"With autoballoon{rule} the host swapped in {into(on)} pages instead of {into(off)} and out {out(on)} "
        f"instead of {out(off)}; its guests were busy for {_mean_time(on)} instead of {_mean_time(off)}{endless}."
    )


def _best_in_each(results: Results) -> str:
    """Which arm with a limit lost the least time, variant by variant."""
    limited = [arm for arm in results.arms if arm.limit is not None]
    told = [
        f"{best[0]} in {variant} ({best[1]:.2f}x)"
        for variant in results.variants
        if (best := best_of(results, variant, [arm for arm in limited if arm.variant == variant]))
    ]
    return f"Least busy time over the yardstick's: {', '.join(told) or 'not known'}."


def _mean(pages: Callable[[Run], int]) -> Callable[[Sequence[Run]], str]:
    return lambda runs: f"{fmean(map(pages, runs)):,.0f}"


def _mean_time(runs: Sequence[Run]) -> str:
    times = [run.time_s for run in runs if run.time_s is not None]
    if not times:
        return "an unknown time"
    return f"{'more than ' if bound(runs) else ''}{fmean(times):.1f} s"


def notes(results: Results) -> list[str]:
    """What a reader must know before believing the table; one sentence each."""
    rounds = {run.round for arm in results.arms for run in arm.runs}
    said = ["One round of each arm: an example, not a measurement."] if len(rounds) == 1 else []
    for arm in results.arms:
        for run, later in zip_longest(arm.runs, arm.runs[1:]):
            said.extend(f"{arm.name}, round {run.round}: {note}." for note in run.extra.get("notes", []))
            if run.noisy:
                was_repeated = later is not None and later.round == run.round
                then = "so the run was repeated" if was_repeated else "so nothing is judged by this run"
                said.append(f"{arm.name}, round {run.round}: the machine swapped by itself, {then}.")
    return said


def conditions(results: Results) -> str:
    """Machine, versions and sizes in one line."""
    machine = results.machine
    return (
        f"{load_text(results)}; "
        f"{machine.cores} cores, {size_text(machine.ram)}, {machine.accel}, guest kernel {machine.kernel}, "
        f"{machine.qemu}, cgroup {machine.cgroup}"
    )


def controller_line(run: Run) -> str | None:
    """What the controller itself cost in one run; None when there was none."""
    if run.controller_cpu_s is None or run.controller_rss is None:
        return None
    share = run.controller_cpu_s / run.wall_s
    size = run.controller_rss / MIB
    return f"controller: {run.controller_cpu_s:.1f} s of CPU ({share:.2%} of one core), {size:.1f} MiB"


def table(results: Results) -> str:
    """Everything as text, ready to print."""
    lines = [f"{results.experiment}: {conditions(results)}", "", _HEAD]
    lines += [_row(arm, run) for arm in results.arms for run in arm.runs]
    lines += [
        "",
        *side_by_side(results),
        "",
        *balloon_rows(results),
        "",
        *voice_rows(results),
        "",
        *_ratio_rows(results),
        "",
    ]
    if results.experiment == "wave":
        lines += [*_seed_rows(), ""]
    lines += [*_held_rows(results), *_late_rows(results), *_cost_rows(results), ""]
    lines += ["What it must reach:"]
    words = {True: "reached", False: "MISSED", None: "not judged"}
    lines += [f"  {words[v.met]:<11}{v.asks}: {v.measured}" for v in verdicts(results)]
    lines += ["", *notes(results), headline(results)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
