"""The pictures of a lab report as plotly figures: plain data, drawn by plotly's JavaScript in the page.

Axes are MiB and seconds since the run's first boot.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from autoballoon.core.model import Guest
from autoballoon.core.units import MIB, PAGE
from autoballoon.views.lab_results import Sample, Told

Figure = dict[str, Any]

SHADES = (("#1f5fa8", "#6fa3dc", "#cfe1f5"), ("#2b7a78", "#74b9b4", "#d3ebe8"))
"""Used, cache, free; guests take the two hues in turn, so that each can be told from its neighbours."""
INK, GREY, RED, AMBER = "#222222", "#b9b4ad", "#c0392b", "#e08e0b"
_FONT = {"family": "system-ui, sans-serif", "size": 13, "color": INK}
_GRID = {"gridcolor": "#eeeeee", "zerolinecolor": "#cccccc"}
_COLUMNS = 4


def _title(text: str) -> Figure:
    return {"text": text, "font": {"size": 12}}


def _mib(size: int | None) -> float:
    return round((size or 0) / MIB, 1)


def parts(guest: Guest) -> tuple[int, int, int]:
    """(used, cache, free) bytes of what the host holds for a guest; they add up to `resident`.

    The guest tells how its memory is used, the host how much of it is held; what is not held is taken off free
    first, then off cache. With deflate-on-oom the balloon itself counts as used in the guest and is left out here.
    """
    held = guest.resident if guest.resident is not None else guest.actual
    if guest.total is None or guest.free is None:
        return held, 0, 0
    balloon = guest.max - guest.actual if guest.deflates_itself else 0
    cache = guest.caches or 0
    used = min(held, max(0, guest.total - balloon - guest.free - cache))
    cache = min(cache, held - used)
    return used, cache, held - used - cache


def _resident(sample: Sample) -> int:
    return sum(guest.resident or 0 for guest in sample.snapshot.guests)


def _top(sample: Sample) -> int:
    """All that is held or swapped out, bytes."""
    swapped = sum(guest.swapped or 0 for guest in sample.snapshot.guests)
    return max(sample.usage, _resident(sample)) + swapped


def _named(samples: Sequence[Sample]) -> list[str]:
    return sorted({guest.name for sample in samples for guest in sample.snapshot.guests})


def _guest(sample: Sample, name: str) -> Guest | None:
    return next((guest for guest in sample.snapshot.guests if guest.name == name), None)


def _layer(x: list[float], y: list[float], colour: str, name: str, legend: str | None) -> Figure:
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": y, "stackgroup": "held", "name": legend or name,
        "legendgroup": legend or name, "showlegend": legend is not None, "line": {"width": 0.4, "color": "#ffffff"},
        "fillcolor": colour, "hovertemplate": f"{name}: %{{y:.0f}} MiB<extra></extra>",
    }  # fmt: skip


def _line(x: list[float], y: list[float], colour: str, name: str, **more: Any) -> Figure:
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": {"color": colour, "width": 2},
        "hovertemplate": f"{name}: %{{y:.0f}}<extra></extra>", **more,
    }  # fmt: skip


def _traffic(samples: Sequence[Sample]) -> tuple[list[float], list[float]]:
    """MiB a second swapped in and out, between one sample and the one before."""
    into, out = [0.0], [0.0]
    for before, after in pairwise(samples):
        seconds = max(after.at_s - before.at_s, 0.001)
        into.append(round((after.swap_in_pages - before.swap_in_pages) * PAGE / MIB / seconds, 2))
        out.append(round((after.swap_out_pages - before.swap_out_pages) * PAGE / MIB / seconds, 2))
    return into, out


def host_memory(samples: Sequence[Sample], ceiling_mib: float, traffic_mib: float) -> Figure:
    """What the host holds, guest by guest, with the limit; below it the swap traffic on the same time axis.

    The heights are given so that the pictures of all arms can be compared at sight; each has its own time.
    """
    x = [sample.at_s for sample in samples]
    until_s = x[-1]
    data: list[Figure] = []
    for number, name in enumerate(_named(samples)):
        guests = [_guest(sample, name) for sample in samples]
        split = [parts(guest) if guest else (0, 0, 0) for guest in guests]
        for kind, word in enumerate(("used", "cache", "free")):
            legend = f"{word} by guests" if number == 0 else None
            shade = SHADES[number % len(SHADES)][kind]
            data.append(_layer(x, [_mib(one[kind]) for one in split], shade, f"{name} {word}", legend))
    # What the group is charged beyond guest memory: QEMU's own, any load of the host, and what a reading runs behind.
    rest = [_mib(max(sample.usage - _resident(sample), 0)) for sample in samples]
    data.append(_layer(x, rest, GREY, "QEMU and the rest", "QEMU and the rest"))
    with_swapped = [_mib(_top(sample)) for sample in samples]
    dotted = {"color": AMBER, "width": 1.5, "dash": "dot"}
    data.append(_line(x, with_swapped, AMBER, "held and swapped out", line=dotted))
    limit = next((sample.limit for sample in samples if sample.limit is not None), None)
    if limit is not None:
        data.append(_line([0, until_s], [_mib(limit)] * 2, RED, "limit"))
    into, out = _traffic(samples)
    data.append(
        _line(x, out, RED, "swapped out", yaxis="y2", fill="tozeroy", line={"color": RED, "width": 1})
    )
    data.append(_line(x, into, INK, "swapped in", yaxis="y2", line={"color": INK, "width": 1.5}))
    return {
        "data": data,
        "layout": {
            "height": 430, "margin": {"l": 64, "r": 16, "t": 8, "b": 44}, "font": _FONT, "hovermode": "closest",
            "paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff",
            "xaxis": {"title": _title("seconds since the first boot"), "range": [0, until_s],
                      "anchor": "y2", "gridcolor": "#f3f3f3"},
            "yaxis": {**_GRID, "title": _title("host memory, MiB"), "range": [0, ceiling_mib], "domain": [0.3, 1]},
            "yaxis2": {**_GRID, "title": _title("swap, MiB/s"), "range": [0, traffic_mib], "domain": [0, 0.22]},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        },
    }  # fmt: skip


def held_at_most(samples: Sequence[Sample]) -> float:
    """MiB of the highest point that any picture of these samples needs."""
    return _mib(max((max(sample.limit or 0, _top(sample)) for sample in samples), default=0)) * 1.05


def traffic_at_most(samples: Sequence[Sample]) -> float:
    """MiB/s of the busiest second of one run's samples; at least 1."""
    into, out = _traffic(samples)
    return max(1.0, *into, *out) * 1.05


def moves(told: Sequence[Told]) -> Iterator[tuple[float, dict[str, Any]]]:
    """(seconds, decision) of every decision that changed something."""
    for tick in told:
        for decision in tick.data.get("decisions", []):
            if decision.get("kind") != "stay":
                yield tick.at_s, decision


def targets(samples: Sequence[Sample], told: Sequence[Told]) -> Figure:
    """Each guest's target against its actual size and what it cannot give back, as small multiples."""
    names = _named(samples)
    rows = -(-len(names) // _COLUMNS) or 1
    x = [sample.at_s for sample in samples]
    layout: Figure = {
        "height": 190 * rows + 70, "margin": {"l": 56, "r": 12, "t": 28, "b": 40}, "font": {**_FONT, "size": 12},
        "grid": {"rows": rows, "columns": _COLUMNS, "pattern": "independent", "xgap": 0.12, "ygap": 0.28},
        "paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff", "annotations": [],
        "legend": {"orientation": "h", "y": 1.06, "yanchor": "bottom"},
    }  # fmt: skip
    data: list[Figure] = []
    top = max((_mib(g.max) for sample in samples for g in sample.snapshot.guests), default=1.0) * 1.08
    until = max(x, default=1.0)
    for number, name in enumerate(names):
        axis = "" if number == 0 else str(number + 1)
        place = {"xaxis": f"x{axis}", "yaxis": f"y{axis}", "showlegend": number == 0}
        guests = [_guest(sample, name) for sample in samples]
        need = [
            _mib(max(g.total - g.available - (g.max - g.actual if g.deflates_itself else 0), 0))
            if g and g.total is not None and g.available is not None
            else None
            for g in guests
        ]
        actual = [_mib(g.actual) if g else None for g in guests]
        asked = [
            (at_s, _mib(d.get("to"))) for at_s, d in moves(told) if d.get("guest") == name and d.get("to")
        ]
        asked += [(until, asked[-1][1])] if asked else []
        grey: Figure = {"color": GREY, "width": 0}
        data.append(_line(x, need, "#d9d4cc", "in use", fill="tozeroy", line=grey, **place))  # type: ignore[arg-type]
        data.append(_line(x, actual, SHADES[0][0], "actual", **place))  # type: ignore[arg-type]
        data.append(
            _line([at for at, _ in asked], [size for _, size in asked], RED, "target",
                  line={"color": RED, "width": 1.3, "shape": "hv", "dash": "dot"}, **place)
        )  # fmt: skip
        layout[f"xaxis{axis}"] = {"range": [0, until], "ticksuffix": " s", "nticks": 4, "showgrid": False}
        layout[f"yaxis{axis}"] = {"range": [0, top], "nticks": 4, "gridcolor": "#eeeeee"}
        if number % _COLUMNS == 0:
            layout[f"yaxis{axis}"]["title"] = _title("MiB")
        layout["annotations"].append(
            {"text": f"<b>{name}</b>", "xref": f"x{axis} domain", "yref": f"y{axis} domain", "x": 0, "y": 1.02,
             "xanchor": "left", "yanchor": "bottom", "showarrow": False}
        )  # fmt: skip
    return {"data": data, "layout": layout}
