"""The lab's report: one HTML page that needs nothing but itself."""

from collections.abc import Iterable, Sequence
from html import escape

from autoballoon.views import lab_side as side
from autoballoon.views import report_figures as figures
from autoballoon.views.html import document, draw, row, section
from autoballoon.views.lab_driver import balloon_rows
from autoballoon.views.lab_results import Results, Sample, Told
from autoballoon.views.lab_table import conditions, controller_line, headline, notes
from autoballoon.views.lab_verdict import verdicts
from autoballoon.views.lab_voice import voice_rows

_MOST_MOVES = 400
"""Decisions shown per arm; the rest is in decisions.jsonl."""


def page(results: Results, samples: Sequence[Sample], told: Sequence[Told], plotly_js: str) -> str:
    """The page: what came out, why, and on what. `plotly_js` is plotly's JavaScript, which is embedded."""
    apart = {
        "Balloons": "\n".join(balloon_rows(results)),
        "How guests were heard": "\n".join(voice_rows(results)),
    }
    parts = [
        f"<p class='lead'>{escape(headline(results))}</p>",
        f"<p class='small'>{escape(conditions(results))}</p>",
        *([section("Side by side", _side_by_side(results))] if results.variants != [""] else []),
        *(section(title, f"<pre>{escape(text)}</pre>") for title, text in apart.items() if text),
        section("Run by run" if results.variants != [""] else "Off against on", _table(results)),
        section("What it must reach", _criteria(results)),
        *_pictures(results, samples, told),
        section("How it was made", _made(results)),
    ]
    return document(f"autoballoon lab: {results.experiment}", parts, plotly_js)


def _seconds(value: float | None, bound: str) -> str:
    return "-" if value is None else f"{bound}{value:.2f}"


def _table(results: Results) -> str:
    head = (
        "arm",
        "run",
        "time (s)",
        "swap in (pages)",
        "swap out (pages)",
        "finished",
        "OOM kills",
        "worst phase (s)",
        "controller",
    )
    rows = []
    for arm in results.arms:
        for run in arm.runs:
            bound = "" if run.is_complete else "&gt; "
            cost = (controller_line(run) or "").removeprefix("controller: ")
            rows.append(row((
                escape(arm.name) + (" (noisy)" if run.noisy else ""), str(run.round), _seconds(run.time_s, bound),
                f"{run.swap_in_pages:,}", f"{run.swap_out_pages:,}", f"{run.finished} of {run.guests}",
                str(run.guest_oom), _seconds(run.worst_phase_s, bound), escape(cost),
            )))  # fmt: skip
    said = "".join(f"<p class='small'>{escape(note)}</p>" for note in notes(results))
    return f"<table>{row(head, 'th')}{''.join(rows)}</table>{said}"


def _side_by_side(results: Results) -> str:
    """An arm a row, three columns for each variant: busy time over the yardstick's, wall seconds, pages swapped."""
    titles = [f"{escape(variant)}: {column}" for variant in results.variants for column in side.HEAD]
    body = "".join(
        row([escape(short), *(escape(word) for found in cells for word in side.words(found))])
        for short, cells in side.rows(results)
    )
    return f"<table>{row(['arm', *titles], 'th')}{body}</table>"


def _criteria(results: Results) -> str:
    words = {True: ("met", "reached"), False: ("missed", "missed"), None: ("unknown", "not judged")}
    rows = "".join(
        f"<tr><td class='{words[v.met][0]}'>{words[v.met][1]}</td><td class='words'>{escape(v.asks)}</td>"
        f"<td class='words'>{escape(v.measured)}</td></tr>"
        for v in verdicts(results)
    )
    return f"<table>{rows}</table>"


def _pictures(results: Results, samples: Sequence[Sample], told: Sequence[Told]) -> Iterable[str]:
    """For each arm its first run that counts: memory and swap; then targets and decisions where there were any."""
    shown = [(arm, run) for arm in results.arms for run in arm.counted[:1]]
    seen = {
        arm.name: [
            s for s in samples if (s.arm, s.round) == (arm.name, run.round) and s.at_s <= run.wall_s + 1
        ]
        for arm, run in shown
    }
    if not any(seen.values()):
        yield section("Memory over time", "<p>Nothing was sampled.</p>")
        return
    ceiling = max(figures.held_at_most(some) for some in seen.values())
    traffic = max(figures.traffic_at_most(some) for some in seen.values() if some)
    number = 0
    for arm, run in shown:
        if not seen[arm.name]:
            continue
        body = draw(number, figures.host_memory(seen[arm.name], ceiling, traffic))
        number += 1
        heard = [tick for tick in told if (tick.arm, tick.round) == (arm.name, run.round)]
        if heard:
            body += "<h3>Each guest's target against its size</h3>"
            body += draw(number, figures.targets(seen[arm.name], heard))
            number += 1
            body += _words(heard)
        yield section(f"{arm.name}, round {run.round}", body)


def _words(told: Sequence[Told]) -> str:
    moved = list(figures.moves(told))
    rows = "".join(
        f"<tr><td>{at_s:.1f}</td><td class='words'>{escape(str(d.get('says', '')))}</td></tr>"
        for at_s, d in moved[:_MOST_MOVES]
    )
    more = f"; the first {_MOST_MOVES} are shown" if len(moved) > _MOST_MOVES else ""
    return (
        f"<h3>Decisions in words</h3><p class='small'>{len(moved)} moves{more}; every tick is in decisions.jsonl.</p>"
        f"<div class='log'><table><tr><th>at (s)</th><th class='words'>what and why</th></tr>{rows}</table></div>"
    )


def _made(results: Results) -> str:
    return (
        f"<p><code>{escape(results.command)}</code></p><p class='small'>{escape(conditions(results))}. "
        "TIME is the mean of the guests' busy seconds, sleeping left out; swap is pswpin + zswpin + swpin_zero and "
        "pswpout + zswpout + swpout_zero of the host, from before the first boot until the last guest was done.</p>"
    )
