"""The verbs that ask a running daemon and change nothing: `status`, `explain`; and `version`."""

import time
from pathlib import Path

import click
import msgspec

from autoballoon import __version__
from autoballoon.cli.connect import ask, complete_guest, json_option, paint, socket_option, width
from autoballoon.core.errors import CouldNot
from autoballoon.core.units import parse_duration
from autoballoon.views import explain as explained
from autoballoon.views.status import decode, table

SINCE_S = 600.0
"""How far back all guests are explained, when nothing else is said."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, with every number.")
@socket_option
def status(as_json: bool, path: Path) -> None:
    """Tell what the daemon sees and what it last decided."""
    data = ask(path, "status")
    if as_json:
        click.echo(bytes(data))
        return
    try:
        click.echo(table(decode(data), paint(), width()), nl=False, color=True)
    except msgspec.DecodeError as error:
        raise CouldNot(f"the status from {path} is not one of this version ({error}); use --json") from None


@click.command()
@click.argument("guest", required=False, shell_complete=complete_guest)
@click.option("--since", metavar="TIME", help="How far back, such as 10m.  [default: 10m; all of one GUEST]")
@json_option
@socket_option
def explain(guest: str | None, since: str | None, as_json: bool, path: Path) -> None:
    """Tell what was decided for GUEST, or for all, and why; also why nothing happened."""
    since_s = parse_duration(since) if since is not None else None if guest else SINCE_S
    data = ask(path, "explain", {"guest": guest, "since_s": since_s})
    if as_json:
        click.echo(bytes(data))
        return
    try:
        told = explained.decode(data)
    except msgspec.DecodeError as error:
        raise CouldNot(f"the answer from {path} is not one of this version ({error}); use --json") from None
    click.echo("\n".join(explained.lines(told, lambda at: _clock(at, told.now_s))))


def _clock(at_s: float, now_s: float) -> str:
    """The local time of day; with the date, when it was not today."""
    at = time.localtime(at_s)
    today = time.strftime("%Y-%m-%d", at) == time.strftime("%Y-%m-%d", time.localtime(now_s))
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", at)


@click.command()
def version() -> None:
    """Tell which autoballoon this is."""
    click.echo(f"autoballoon {__version__}")
