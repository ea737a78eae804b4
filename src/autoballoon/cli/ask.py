"""The verbs that ask: `status` of a running daemon, and `version`."""

import socket
from pathlib import Path

import click
import msgspec

from autoballoon import __version__
from autoballoon.core.errors import CouldNot
from autoballoon.daemon.config import DEFAULT_SOCKET
from autoballoon.views.status import decode, table

_PATIENCE_S = 5.0
_LONGEST_REPLY = 64 << 20
"""Bytes: a thousand guests take about one million."""


class _Error(msgspec.Struct):
    code: str
    says: str


class _Reply(msgspec.Struct):
    ok: bool
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, with every number.")
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    default=DEFAULT_SOCKET,
    show_default=True,
    help="The daemon's control socket.",
)
def status(as_json: bool, path: Path) -> None:
    """Tell what the daemon sees and what it last decided."""
    data = ask(path, "status")
    if as_json:
        click.echo(bytes(data))
        return
    try:
        click.echo(table(decode(data)), nl=False)
    except msgspec.DecodeError as error:
        raise CouldNot(f"the status from {path} is not one of this version ({error}); use --json") from None


@click.command()
def version() -> None:
    """Tell which autoballoon this is."""
    click.echo(f"autoballoon {__version__}")


def ask(path: Path, verb: str) -> msgspec.Raw:
    """The data that the daemon at `path` answers with. CouldNot when none does, or when it refuses."""
    request = msgspec.json.encode({"v": 1, "id": 1, "do": verb, "args": {}}) + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE_S)
            connection.connect(str(path))
            connection.sendall(request)
            with connection.makefile("rb") as lines:
                line = lines.readline(_LONGEST_REPLY)
    except PermissionError:
        raise CouldNot(f"{path} may not be opened by you; become root or join the socket's group") from None
    except TimeoutError:
        raise CouldNot(
            f"the daemon at {path} did not answer within {_PATIENCE_S:.0f} s; see its log"
        ) from None
    except (OSError, ValueError):
        raise CouldNot(
            f"no daemon answers at {path}; start one with `autoballoon run --config FILE`, "
            "or name its socket with --socket"
        ) from None
    try:
        reply = msgspec.json.decode(line, type=_Reply)
    except msgspec.DecodeError:
        raise CouldNot(
            f"what answers at {path} is no autoballoon; name its control socket with --socket"
        ) from None
    if not reply.ok:
        raise CouldNot(reply.error.says if reply.error else f"the daemon at {path} refused without a reason")
    return reply.data
