"""What each driver did with its balloon, an arm a row."""

from collections.abc import Iterable

from autoballoon.views.lab_measure import SPIKES_HEAD, waits
from autoballoon.views.lab_results import Results, Run

HEAD = (
    f"{'ARM':<18}{'RUN':>4}{'TARGET':>9}{'AFTER(s)':>10}{'CPU(s)':>8}{'INFLATED':>12}{'KEPT':>12}{'PER KEPT':>10}"
    f"{'MOVED':>12}{'OOM':>5}{'PSI(s)':>9}{SPIKES_HEAD}"
)


def per_kept(run: Run) -> float | None:
    """Pages inflated for each page that was in a balloon in the end; None when nothing was kept, or nobody told."""
    inflated, kept = run.extra.get("inflated_pages"), run.extra.get("kept_pages")
    return inflated / kept if inflated and kept else None


def is_at_target(run: Run) -> bool:
    """Whether every guest that was asked to have some size had it in the end."""
    asked: int = run.extra.get("targets", 0)
    return asked > 0 and run.extra.get("targets_reached") == asked


def target_text(run: Run) -> str:
    """Whether guests came to the size that they were asked to have last."""
    if is_at_target(run):
        return "reached"
    asked = run.extra.get("targets", 0)
    return f"{run.extra.get('targets_reached', 0)} of {asked}" if asked else "-"


def arrival_s(run: Run) -> float | None:
    """Seconds until the last guest was at its target; None when one never was, or none was asked."""
    return run.extra.get("target_s") if is_at_target(run) else None


def qemus_cpu_s(run: Run) -> float | None:
    """Processor seconds of all QEMUs, from the go on where the run tells of it."""
    whole = run.extra.get("guests_cpu_s")
    return None if whole is None else whole - run.extra.get("go_cpu_s", 0.0)


def moved_pages(run: Run) -> int | None:
    """Pages that went into balloons and out of them in one run; None when no guest told."""
    inflated, kept = run.extra.get("inflated_pages"), run.extra.get("kept_pages")
    return None if inflated is None or kept is None else 2 * inflated - kept


def _after(run: Run) -> str:
    after = arrival_s(run)
    return _tenths(after) if after is not None or not run.extra.get("targets") else "never"


def _tenths(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f}"


def _pages(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def balloon_rows(results: Results) -> Iterable[str]:
    """The table in text, line by line; nothing for an experiment without drivers to compare."""
    if results.experiment != "driver":
        return
    yield "Balloons: guests at their last target in the end, and when the last one was; QEMUs' CPU time since the go;"
    yield "pages inflated in all and for each that was kept, and moved both ways; PSI: in which something in a guest"
    yield "waited for memory, all guests; SPIKES of @wave that lacked memory, ms to the first page and to all of it:"
    yield HEAD
    for arm in results.arms:
        for run in arm.runs:
            ratio = per_kept(run)
            yield (
                f"{arm.name:<18}{run.round:>4}{target_text(run):>9}{_after(run):>10}{_tenths(qemus_cpu_s(run)):>8}"
                f"{_pages(run.extra.get('inflated_pages')):>12}{_pages(run.extra.get('kept_pages')):>12}"
                f"{'-' if ratio is None else f'{ratio:.2f}':>10}{_pages(moved_pages(run)):>12}{run.guest_oom:>5}"
                f"{_tenths(run.extra.get('guests_psi_s')):>9}"
                f"{waits(run.extra.get('first_s', ()), run.extra.get('whole_s', ()))}"
            )
