"""What each driver did with its balloon, an arm a row."""

from collections.abc import Iterable

from autoballoon.views.lab_results import Results, Run

HEAD = f"{'ARM':<18}{'RUN':>4}{'TARGET':>14}{'AFTER(s)':>10}{'INFLATED':>12}{'KEPT':>12}{'PER KEPT':>10}{'OOM':>5}"


def per_kept(run: Run) -> float | None:
    """Pages inflated for each page that was in a balloon in the end; None when nothing was kept, or nobody told."""
    inflated, kept = run.extra.get("inflated_pages"), run.extra.get("kept_pages")
    return inflated / kept if inflated and kept else None


def target_text(run: Run) -> str:
    """Whether guests came to the size that they were asked to have last."""
    asked, reached = run.extra.get("targets", 0), run.extra.get("targets_reached", 0)
    if not asked:
        return "-"
    return "reached" if reached == asked else f"{reached} of {asked}"


def _pages(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def balloon_rows(results: Results) -> Iterable[str]:
    """The table in text, line by line; nothing for an experiment without drivers to compare."""
    if results.experiment != "driver":
        return
    yield "Balloons: guests at their last target in the end, pages inflated in all and for each that was kept:"
    yield HEAD
    for arm in results.arms:
        for run in arm.runs:
            after, ratio = run.extra.get("target_s"), per_kept(run)
            yield (
                f"{arm.name:<18}{run.round:>4}{target_text(run):>14}{'-' if after is None else f'{after:.1f}':>10}"
                f"{_pages(run.extra.get('inflated_pages')):>12}{_pages(run.extra.get('kept_pages')):>12}"
                f"{'-' if ratio is None else f'{ratio:.2f}':>10}{run.guest_oom:>5}"
            )
