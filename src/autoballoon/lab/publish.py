"""Make the page of a results folder from what was written there."""

from pathlib import Path

from autoballoon.lab import results as kept
from autoballoon.views.report import page


def publish(folder: Path) -> str:
    """Write report.html and say where it is, or that plotly is missing. CouldNot when the disk is full."""
    try:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # noqa: PLC0415  (an extra)
    except ImportError:
        return f"results in {folder}; report.html needs plotly: .venv/bin/pip install '.[report]'"
    made = page(kept.read(folder), kept.read_samples(folder), kept.read_told(folder), get_plotlyjs())
    return f"results in {folder}, with a picture in {kept.write_page(folder, made)}"
