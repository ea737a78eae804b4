"""The verbs that move nothing and need no daemon: `plan`."""

from pathlib import Path

import click
import msgspec

from autoballoon.cli.ask import ask
from autoballoon.core.engine import Engine, Rules
from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.planning import plan as plan_for
from autoballoon.core.snapshot_json import Given, read_snapshot
from autoballoon.core.units import Portion
from autoballoon.daemon.config import DEFAULT_SOCKET, compiled
from autoballoon.policies import policy_named
from autoballoon.views import plan as view
from autoballoon.views.status import DaemonStatus, decode

LONGEST_FILE = 64 << 20
"""Bytes; a snapshot of a thousand guests takes about half a million."""


@click.command()
@click.option(
    "--from",
    "file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="A snapshot, or a status, as JSON; - is standard input. Without it a running daemon is asked.",
)
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    help=f"The control socket of the daemon to ask.  [default: {DEFAULT_SOCKET}]",
)
@click.option("--policy", help="The policy that decides.  [default: ladder, or the daemon's]")
@click.option(
    "--reserve", help="What the host keeps free, as in the configuration.  [default: 5%, or the daemon's]"
)
@click.option("--overload", help="What to do when needs exceed the host.  [default: host-swap]")
@click.option("--json", "as_json", is_flag=True, help="Print targets, wishes and reasons as JSON.")
def plan(
    file: Path | None,
    path: Path | None,
    policy: str | None,
    reserve: str | None,
    overload: str | None,
    as_json: bool,
) -> None:
    """Tell what one step would do with a snapshot, and why. Nothing is moved."""
    if file is not None and path is not None:
        raise BadInput("--from and --socket are two sources; give one of them")
    rules, chosen = _rules(reserve, overload), policy_named(policy or "ladder")
    if file is not None:
        given = _read(file)
    else:
        given, daemon = _ask(path or Path(DEFAULT_SOCKET))
        if policy is None:
            chosen = policy_named(daemon.policy)
        if overload is None:
            rules = msgspec.structs.replace(rules, overload=daemon.overload)
        if reserve is None:
            rules = msgspec.structs.replace(rules, reserve=Portion(amount=daemon.account.reserve))
    answer = plan_for(Engine(rules, chosen), given.snapshot)
    if given.unknown:
        click.echo(f"autoballoon: {_passed_over(given.unknown)}", err=True)
    if as_json:
        click.echo(view.encode(answer, given.snapshot))
    else:
        click.echo(view.table(answer, given.snapshot, chosen.name), nl=False)


def _read(file: Path) -> Given:
    """The snapshot in a file. BadInput when it cannot be read or used."""
    try:
        with click.open_file(str(file), "rb") as opened:
            raw = opened.read(LONGEST_FILE + 1)
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror}); give --from an existing file") from None
    if len(raw) > LONGEST_FILE:
        raise BadInput(f"{file}: is larger than {LONGEST_FILE >> 20} MiB; give a single snapshot")
    try:
        return read_snapshot(raw)
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None


def _ask(path: Path) -> tuple[Given, DaemonStatus]:
    """What the daemon at `path` sees, and what it says of itself. CouldNot when none answers."""
    raw = bytes(ask(path, "status"))
    try:
        return read_snapshot(raw), decode(raw).daemon
    except (BadInput, msgspec.DecodeError) as error:
        raise CouldNot(f"the status from {path} is not one of this version ({error})") from None


def _rules(reserve: str | None, overload: str | None) -> Rules:
    """The host's rules, checked as the configuration's keys of the same names are."""
    options = {"reserve": reserve, "overload": overload}
    host = {name: text for name, text in options.items() if text is not None}
    try:
        config = compiled({"host": host})
    except BadInput as error:
        raise BadInput(f"{' '.join(f'--{name}' for name in host)}: {error}") from None
    return Rules(reserve=config.reserve, overload=config.overload)


def _passed_over(unknown: tuple[str, ...]) -> str:
    """One sentence, however many there are and whatever they are called."""
    told = ", ".join(repr(name[:80]) for name in unknown[:5])
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f"this version does not know {told}{more}; left out of the plan"
