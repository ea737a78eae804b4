"""The report as a browser shows it: Debian's Chromium, without a network."""

import re
import subprocess
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from autoballoon.views.lab_results import Results, Sample, Told
from autoballoon.views.report import page

pytestmark = pytest.mark.lab

CHROMIUM = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom",
)  # fmt: skip
"""Prints the page as its scripts have left it, and on stderr what they complained of."""


def shown(made: str, folder: Path) -> tuple[str, list[str]]:
    """(the page in the browser, less its scripts; what its console says)."""
    file = folder / "report.html"
    file.write_text(made)
    command = (*CHROMIUM, f"--user-data-dir={folder / 'profile'}", file.as_uri())
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return re.sub(r"<script>.*?</script>", "", ended.stdout, flags=re.DOTALL), [
        line for line in ended.stderr.splitlines() if "CONSOLE" in line
    ]


def test_every_figure_is_drawn(
    results: Results, samples: list[Sample], told: list[Told], tmp_path: Path
) -> None:
    seen, complaints = shown(page(results, samples, told, get_plotlyjs()), tmp_path)
    assert complaints == []
    charts = seen.split('class="js-plotly-plot"')[1:]
    assert len(charts) == 3  # memory of off and of on, targets of on
    assert all('class="trace scatter' in chart and "<path" in chart for chart in charts)
    assert "500,000" in seen


def test_what_goes_wrong_in_the_page_is_seen(
    results: Results, samples: list[Sample], told: list[Told], tmp_path: Path
) -> None:
    seen, complaints = shown(page(results, samples, told, "/* no plotly */"), tmp_path)
    assert any("Plotly is not defined" in line for line in complaints)
    assert "js-plotly-plot" not in seen
