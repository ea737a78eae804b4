"""A page that shows how a simulation went: memory of the host and of each guest, policy by policy."""

from collections.abc import Mapping, Sequence
from html import escape

import msgspec

from autoballoon.core.model import Guest
from autoballoon.core.units import MIB
from autoballoon.views import report_figures as figures
from autoballoon.views.html import document, draw, row, section
from autoballoon.views.lab_results import Sample, Told
from autoballoon.views.sim_results import Result

MOST_GUESTS = 24
"""Guests drawn each by itself; of more, those that lost the most time."""
MOST_MOVES = 400


class Record(msgspec.Struct, frozen=True):
    """What was seen of one policy's run."""

    policy: str
    samples: tuple[Sample, ...]
    told: tuple[Told, ...]
    wants: Mapping[str, Sequence[tuple[float, int]]]
    """(seconds, bytes) by guest: the size it would need to have all that it wants."""


def page(says: str, results: Sequence[Result], records: Sequence[Record], plotly_js: str) -> str:
    """The page; results and records are of one scenario, in one order."""
    held = max(figures.held_at_most(record.samples) for record in records)
    traffic = max(figures.traffic_at_most(record.samples) for record in records)
    parts = [f"<p class='lead'>{escape(says)}</p>", section("What it came to", _table(results))]
    for number, (result, record) in enumerate(zip(results, records, strict=True)):
        drawn = _most_lost(result, record)
        few = [_only(sample, drawn) for sample in record.samples]
        host = figures.host_memory([_few(sample) for sample in record.samples], held, traffic)
        host["layout"]["xaxis"]["title"]["text"] = "seconds"
        body = draw(2 * number, host)
        body += "<h3>Each guest's target, its size, what it reports as in use, and what it wants</h3>"
        body += draw(2 * number + 1, _with_wants(figures.targets(few, record.told), record, sorted(drawn)))
        left_out = len(record.wants) - len(drawn)
        if left_out:
            body += f"<p class='small'>{left_out} guests that lost less are not drawn.</p>"
        parts.append(section(record.policy, body + _words(record)))
    return document(f"autoballoon sim: {results[0].scenario}", parts, plotly_js)


def _table(results: Sequence[Result]) -> str:
    head = [
        "policy",
        "guest time lost (s)",
        "host swap (pages)",
        "guest swap (pages)",
        "starved (s)",
        "moves",
        "unmet",
    ]
    rows = "".join(
        row([
            escape(one.policy), f"{one.lost_s:,.1f}", f"{one.host_swap_pages:,}", f"{one.guest_swap_pages:,}",
            f"{one.longest_starving_s:.1f}", f"{one.moves:,}", escape("; ".join((*one.unmet, *one.broken))) or "-",
        ])
        for one in results
    )  # fmt: skip
    return f"<table>{row(head, 'th')}{rows}</table>"


def _few(sample: Sample) -> Sample:
    """The sample as it is; of very many guests, all of them as one."""
    guests = sample.snapshot.guests
    if len(guests) <= MOST_GUESTS:
        return sample

    def total(field: str) -> int:
        return sum(getattr(guest, field) or 0 for guest in guests)

    # Where the total follows the balloon, it is taken as if it did not.
    follows = sum(guest.max - guest.actual for guest in guests if not guest.deflates_itself)
    one = Guest(
        key="all", name="all", max=total("max"), actual=total("actual"), deflates_itself=True,
        total=total("total") + follows, available=total("available"), free=total("free"), caches=total("caches"),
        resident=total("resident"), swapped=total("swapped"),
    )  # fmt: skip
    return msgspec.structs.replace(sample, snapshot=msgspec.structs.replace(sample.snapshot, guests=(one,)))


def _most_lost(result: Result, record: Record) -> set[str]:
    names = sorted(record.wants, key=lambda name: (-result.lost.get(name, 0.0), name))
    return set(names[:MOST_GUESTS])


def _only(sample: Sample, names: set[str]) -> Sample:
    guests = tuple(guest for guest in sample.snapshot.guests if guest.name in names)
    return msgspec.structs.replace(sample, snapshot=msgspec.structs.replace(sample.snapshot, guests=guests))


def _with_wants(figure: figures.Figure, record: Record, names: Sequence[str]) -> figures.Figure:
    """The figure of targets with one more line for each guest."""
    seen = {guest.name for sample in record.samples for guest in sample.snapshot.guests}
    for number, name in enumerate(name for name in names if name in seen):
        axis = "" if number == 0 else str(number + 1)
        points = record.wants[name]
        figure["data"].append(
            {
                "type": "scatter", "mode": "lines", "name": "wants", "showlegend": number == 0,
                "x": [round(at, 2) for at, _ in points], "y": [round(size / MIB, 1) for _, size in points],
                "xaxis": f"x{axis}", "yaxis": f"y{axis}", "line": {"color": figures.INK, "width": 1},
                "hovertemplate": "wants: %{y:.0f} MiB<extra></extra>",
            }
        )  # fmt: skip
    return figure


def _words(record: Record) -> str:
    moved = [(at, d) for at, d in figures.moves(record.told) if d.get("says")]
    rows = "".join(
        f"<tr><td>{at:.1f}</td><td class='words'>{escape(str(d['says']))}</td></tr>"
        for at, d in moved[:MOST_MOVES]
    )
    if not rows:
        return ""
    more = f"; the first {MOST_MOVES} are shown" if len(moved) > MOST_MOVES else ""
    return (
        f"<h3>Moves in words</h3><p class='small'>{len(moved)} moves{more}.</p><div class='log'><table>"
        f"<tr><th>at (s)</th><th class='words'>what and why</th></tr>{rows}</table></div>"
    )
