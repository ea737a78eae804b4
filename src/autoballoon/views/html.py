"""Pages that need nothing but themselves: what all of them are made of."""

from collections.abc import Iterable
from html import escape

import msgspec

from autoballoon.views.report_figures import Figure

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #f6f5f2; margin: 0; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 24px; margin: 8px 0; } h2 { font-size: 18px; margin: 0 0 8px; }
h3 { font-size: 15px; margin: 16px 0 4px; }
.lead { font-size: 18px; } .small { color: #666; font-size: 13px; }
section { background: #fff; border: 1px solid #e4e1da; border-radius: 8px; padding: 16px 20px; margin: 16px 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; color: #666; font-weight: 500; font-size: 13px; } td { text-align: right; }
th, td { padding: 4px 10px; border-bottom: 1px solid #eee; } th:first-child, td:first-child { text-align: left; }
td.words, th.words { text-align: left; }
.met { color: #1d7a46; } .missed { color: #c0392b; font-weight: 600; } .unknown { color: #888; }
.log { max-height: 360px; overflow: auto; font-size: 13px; }
code { background: #f0eee9; padding: 1px 5px; border-radius: 4px; }
"""


def document(title: str, parts: Iterable[str], plotly_js: str) -> str:
    """The whole page; `plotly_js` is plotly's JavaScript, which is embedded."""
    head = [
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>",
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f"<script>{plotly_js}</script></head><body><main>",
        f"<h1>{escape(title)}</h1>",
    ]
    return "\n".join([*head, *parts, "</main></body></html>\n"])


def section(title: str, body: str) -> str:
    """A titled box; `body` is HTML."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def row(cells: Iterable[str], tag: str = "td") -> str:
    """A row of a table; the cells are HTML."""
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def draw(number: int, figure: Figure) -> str:
    """A figure of plotly's; `number` is its own in the page."""
    # "</" would end the script element, whatever it stands in.
    data = msgspec.json.encode(figure).decode().replace("</", "<\\/")
    return (
        f"<div id='figure{number}'></div><script>{{const f = {data};\n"
        f"Plotly.newPlot('figure{number}', f.data, f.layout, {{responsive: true, displayModeBar: false}});}}</script>"
    )
