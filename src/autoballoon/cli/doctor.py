"""`doctor`: what of this host and its guests cannot work, and how to mend it."""

import asyncio
from pathlib import Path

import click

from autoballoon.cli.connect import running
from autoballoon.core.errors import CouldNot
from autoballoon.daemon.checkup import gather
from autoballoon.daemon.config import DEFAULT_SOCKET, load
from autoballoon.views import checkup
from autoballoon.views.diagnosis import can_work, diagnose

USUAL_CONFIG = Path("/etc/autoballoon.toml")


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(readable=False, path_type=Path),
    help=f"The TOML file.  [default: {USUAL_CONFIG}, where it exists]",
)
@click.option("--json", "as_json", is_flag=True, help="Print findings and facts as JSON.")
@click.pass_context
def doctor(ctx: click.Context, path: Path | None, as_json: bool) -> None:
    """Look at the host and every guest; tell what cannot work, and how to mend it. Changes nothing."""
    if path is None and USUAL_CONFIG.exists():
        path = USUAL_CONFIG
    config = None if path is None else load(path)
    # What a daemon sees; where none answers the guests are asked directly.
    status = running(Path(DEFAULT_SOCKET if config is None else config.socket))
    facts = asyncio.run(gather(config, status))
    findings = diagnose(facts)
    click.echo(checkup.encode(facts, findings) if as_json else checkup.text(facts, findings), nl=as_json)
    if not can_work(findings):
        ctx.exit(CouldNot.exit_code)
