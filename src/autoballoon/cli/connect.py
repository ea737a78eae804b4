"""Talking to the daemon: one question, or everything that it tells."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from autoballoon.core.errors import AutoballoonError, BadInput, CouldNot
from autoballoon.daemon.config import DEFAULT_SOCKET
from autoballoon.views.paint import Paint, coloured, plain
from autoballoon.views.status import Status, decode

PATIENCE_S = 5.0
LONGEST_REPLY = 64 << 20
"""Bytes: a thousand guests take about one million."""
COMPLETION_PATIENCE_S = 0.5
_BAD_INPUT = frozenset({"bad-args", "no-guest", "runs"})
"""Codes of refusals that another value would mend."""

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class _Error(msgspec.Struct):
    code: str
    says: str


class _Reply(msgspec.Struct):
    ok: bool
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None


def socket_option(verb: Decorated) -> Decorated:
    """--socket PATH, as `path`."""
    return click.option(
        "--socket",
        "path",
        type=click.Path(readable=False, path_type=Path),
        default=DEFAULT_SOCKET,
        show_default=True,
        help="The daemon's control socket.",
    )(verb)


def json_option(verb: Decorated) -> Decorated:
    """--json, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")(verb)


def complete_guest(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of the guests that the daemon sees, for the shell; none when it does not answer at once."""
    path = Path(ctx.params.get("path") or DEFAULT_SOCKET)
    with suppress(AutoballoonError, msgspec.DecodeError):
        status = decode(ask(path, "status", patience_s=COMPLETION_PATIENCE_S))
        return sorted(guest.name for guest in status.snapshot.guests if guest.name.startswith(incomplete))
    return []


def running(path: Path) -> Status | None:
    """What the daemon at this control socket sees; None when none answers."""
    try:
        return decode(ask(path, "status"))
    except (CouldNot, msgspec.DecodeError):
        return None


def held_by_daemon(path: Path) -> frozenset[str]:
    """The keys of the guests that the daemon at this control socket sees; none when none answers."""
    status = running(path)
    return frozenset() if status is None else frozenset(guest.key for guest in status.snapshot.guests)


def paint() -> Paint:
    """Colour where standard output is a terminal that has it, and nobody says NO_COLOR."""
    wants = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return coloured if wants else plain


def width() -> int | None:
    """The terminal's columns; None where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def ask(
    path: Path, verb: str, args: Mapping[str, object] | None = None, patience_s: float = PATIENCE_S
) -> msgspec.Raw:
    """The data that the daemon at `path` answers with. CouldNot when none does; or BadInput, when it refuses."""
    with _connected(path, verb, args, patience_s) as connection, connection.makefile("rb") as lines:
        try:
            line = lines.readline(LONGEST_REPLY)
        except TimeoutError:
            raise _late(path, patience_s) from None
        except OSError:
            raise _nobody(path) from None
    return _data(path, line)


def watch(path: Path) -> Iterator[msgspec.Raw]:
    """The daemon's status after each tick, until it leaves: then it just ends. CouldNot when none answers."""
    with _connected(path, "watch", None, PATIENCE_S) as connection, connection.makefile("rb") as lines:
        connection.settimeout(None)  # a tick may be a minute apart
        while True:
            try:
                line = lines.readline(LONGEST_REPLY)
            except OSError:
                return
            if not line:
                return
            yield _data(path, line)


def _connected(path: Path, verb: str, args: Mapping[str, object] | None, patience_s: float) -> socket.socket:
    """A connection on which that was asked."""
    request = msgspec.json.encode({"v": 1, "id": 1, "do": verb, "args": args or {}}) + b"\n"
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(patience_s)
        connection.connect(str(path))
        connection.sendall(request)
    except PermissionError:
        connection.close()
        raise CouldNot(f"{path} may not be opened by you; become root or join the socket's group") from None
    except TimeoutError:
        connection.close()
        raise _late(path, patience_s) from None
    except (OSError, ValueError):
        connection.close()
        raise _nobody(path) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _nobody(path: Path) -> CouldNot:
    start = "start one with `autoballoon run --config FILE`"
    if str(path) == DEFAULT_SOCKET:
        start = (
            "start the service with `systemctl start autoballoon` (`journalctl -u autoballoon` tells why it "
            "ended), or one in the foreground with `autoballoon run --config FILE`"
        )
    return CouldNot(f"no daemon answers at {path}; {start}, or name its socket with --socket")


def _late(path: Path, patience_s: float) -> CouldNot:
    return CouldNot(f"the daemon at {path} did not answer within {patience_s:.0f} s; see its log")


def _data(path: Path, line: bytes) -> msgspec.Raw:
    try:
        reply = msgspec.json.decode(line, type=_Reply)
    except (msgspec.DecodeError, RecursionError):
        if not line:
            raise _nobody(path) from None
        raise CouldNot(
            f"what answers at {path} is no autoballoon; name its control socket with --socket"
        ) from None
    if reply.ok:
        return reply.data
    refused = reply.error or _Error("", f"the daemon at {path} refused without a reason")
    raise (BadInput if refused.code in _BAD_INPUT else CouldNot)(refused.says)
