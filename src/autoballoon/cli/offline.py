"""The verbs that move nothing and need no daemon: `plan`."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from autoballoon.cli.connect import ask
from autoballoon.cli.keep import local_time
from autoballoon.core.engine import Engine, Rules
from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.model import Reason
from autoballoon.core.planning import Plan
from autoballoon.core.planning import plan as plan_for
from autoballoon.core.policy import Policy
from autoballoon.core.snapshot_json import Given, read_snapshot
from autoballoon.core.units import Portion, names_text, parse_duration
from autoballoon.daemon.config import DEFAULT_SOCKET, compiled
from autoballoon.daemon.recorder import Recording
from autoballoon.policies import policy_named
from autoballoon.policies.proxmox import Proxmox
from autoballoon.views import plan as view
from autoballoon.views.status import DaemonStatus, decode

LONGEST_FILE = 64 << 20
"""Bytes; a snapshot of a thousand guests takes about half a million."""
GAP_S = 120.0
"""So long after its end a moment of a recording may lie: a tick may be a minute apart."""


@click.command()
@click.option(
    "--from",
    "file",
    type=click.Path(readable=False, path_type=Path, allow_dash=True),
    help="A snapshot, a status, or (with --at) a recording; - is standard input. Without it a daemon is asked.",
)
@click.option(
    "--at",
    metavar="TIME",
    help="The moment of a recording: 14:03, 14:03:07, 2026-01-31T14:03:07, or 90s after its beginning.",
)
@click.option(
    "--socket",
    "path",
    type=click.Path(readable=False, path_type=Path),
    help=f"The control socket of the daemon to ask.  [default: {DEFAULT_SOCKET}]",
)
@click.option("--policy", help="The policy that decides.  [default: ladder, or the daemon's]")
@click.option(
    "--reserve", help="What the host keeps free, as in the configuration.  [default: 5%, or the daemon's]"
)
@click.option(
    "--overload", help="What to do when needs exceed the host.  [default: host-swap, or the daemon's]"
)
@click.option("--json", "as_json", is_flag=True, help="Print targets, wishes and reasons as JSON.")
def plan(
    file: Path | None,
    at: str | None,
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
    given, daemon = _given(file, at, path)
    if daemon is not None:
        if policy is None:
            chosen = policy_named(daemon.policy)
        if overload is None:
            rules = msgspec.structs.replace(rules, overload=daemon.overload)
        if reserve is None:
            rules = msgspec.structs.replace(rules, reserve=Portion(amount=daemon.account.reserve))
    answer = plan_for(Engine(rules, chosen), given.snapshot)
    for notice in _notices(given, answer, chosen):
        click.echo(f"autoballoon: {notice}", err=True)
    if as_json:
        click.echo(view.encode(answer, given.snapshot))
    else:
        click.echo(view.table(answer, given.snapshot, chosen.name), nl=False)


def _given(file: Path | None, at: str | None, path: Path | None) -> tuple[Given, DaemonStatus | None]:
    """What is to be planned for, and what the daemon that saw it said of itself, where that is known."""
    if file is None:
        if at is not None:
            raise BadInput("--at is a moment of a recording; give the recording with --from")
        return _ask(path or Path(DEFAULT_SOCKET))
    return (_read(file), None) if at is None else _moment(file, at)


def _read(file: Path) -> Given:
    """The snapshot in a file. BadInput when it cannot be read or used."""
    try:
        with click.open_file(str(file), "rb") as opened:
            raw = opened.read(LONGEST_FILE + 1)
    except OSError as error:
        raise BadInput(
            f"{file}: cannot be read ({error.strerror}); give --from an existing file that you may read"
        ) from None
    if len(raw) > LONGEST_FILE:
        raise BadInput(f"{file}: is larger than {LONGEST_FILE >> 20} MiB; give a single snapshot")
    if raw.startswith(b"\x1f\x8b"):
        raise BadInput(
            f"{file}: is compressed; if it is a recording, say with --at which moment of it is meant"
        )
    try:
        return read_snapshot(raw)
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None


def _moment(file: Path, at: str) -> tuple[Given, DaemonStatus]:
    """The last moment of a recording that is not after `at`, and what the daemon said of itself then."""
    first = found = None
    wanted = 0.0
    for moment in Recording(file):
        if first is None:
            first = moment
            wanted = _seconds(at, moment.at)
            if moment.at - 60 < wanted < moment.at:
                wanted = moment.at  # in the minute in which it begins
            if wanted < moment.at:
                raise BadInput(
                    f"--at {at[:40]}: the recording begins at {local_time(moment.at)}, and not before"
                )
        if moment.at > wanted:
            break
        found = moment
    else:
        if found is not None and wanted - found.at > GAP_S:
            raise BadInput(f"--at {at[:40]}: the recording ends at {local_time(found.at)}")
    assert found is not None  # the first one is not after what is wanted
    return Given(found.snapshot), found.daemon


def _seconds(at: str, first: float) -> float:
    """A moment as people write it, in seconds since 1970; a time of day is that of the recording's first day."""
    for form in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%H:%M:%S", "%H:%M"):
        try:
            read = time.strptime(at, form)
        except ValueError:
            continue
        if "%Y" not in form:
            day = time.localtime(first)
            read = time.strptime(f"{time.strftime('%Y-%m-%d', day)} {at}", f"%Y-%m-%d {form}")
            moment = time.mktime(read)
            return moment if moment >= first - 60 else moment + 86400  # after midnight
        try:
            return time.mktime(read)
        except OverflowError:
            break
    try:
        return first + parse_duration(at)
    except BadInput:
        raise BadInput(
            f"--at {at[:40]!r} is no time; write it like 14:03, 14:03:07, 2026-01-31T14:03:07 or 90s"
        ) from None


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


def _notices(given: Given, answer: Plan, policy: Policy) -> Iterator[str]:
    """What the plan passes over, in one sentence for each kind."""
    guests = given.snapshot.guests
    if given.unknown:
        yield f"this version does not know {_told(given.unknown)}; left out of the plan"
    unread = [
        guest.name
        for guest, decision in zip(guests, answer.decisions, strict=True)
        if decision.reason is Reason.SILENT and guest.available is None
    ]
    if unread:
        yield f"not moved, for lack of a reading: {_told(unread)}; give each its `available`"
    floorless = [guest.name for guest in guests if guest.floor == 0]
    if policy.name == Proxmox.name and floorless:
        yield f"{policy.name} leaves out who has a floor of 0: {_told(floorless)}; give each its `floor`"


def _told(names: Sequence[str]) -> str:
    """Some of them, however many there are and whatever they are called."""
    return names_text([repr(name[:80]) for name in names], 5)
