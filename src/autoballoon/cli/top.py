"""`top`: the guests, live."""

import sys
from pathlib import Path

import click

from autoballoon.cli.connect import ask, socket_option
from autoballoon.core.errors import CouldNot


@click.command()
@socket_option
def top(path: Path) -> None:
    """Watch the guests on the whole terminal; q leaves."""
    try:
        from autoballoon.cli.top_app import Top  # noqa: PLC0415  (an extra)
    except ImportError:
        raise CouldNot("top needs textual; in a checkout: .venv/bin/pip install '.[tui]'") from None
    if not sys.stdout.isatty():
        raise CouldNot("top draws on a terminal, and this is none; use `autoballoon status`")
    ask(path, "ping")
    Top(path).run()
