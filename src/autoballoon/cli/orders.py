"""The verbs that ask a running daemon to do something: `hold`, `unhold`, `set`, `room`."""

from pathlib import Path
from typing import TypeVar

import click
import msgspec

from autoballoon.cli.connect import PATIENCE_S, ask, complete_guest, json_option, socket_option
from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.units import parse_duration, parse_size, size_text

_KEYS = ("floor", "ceiling", "shares")


T = TypeVar("T")


class _Held(msgspec.Struct):
    guests: list[str]
    held: list[str]
    sizes: dict[str, int]
    ceilings_taken_back: dict[str, int] = {}


class _Set(msgspec.Struct):
    guest: str
    floor: int
    ceiling: int
    shares: int
    config: str


class _Room(msgspec.Struct):
    size: int
    got: int
    kept_s: float


@click.command()
@click.argument("guest", required=False, shell_complete=complete_guest)
@json_option
@socket_option
def hold(guest: str | None, as_json: bool, path: Path) -> None:
    """Make GUEST no smaller until `unhold`; it may still grow. Without GUEST: all, and all to come."""
    data = ask(path, "hold", {"guest": guest})
    if as_json:
        click.echo(bytes(data))
        return
    told = _decoded(data, _Held, path)
    if guest is None:
        click.echo(f"every guest is held, and those to come: {len(told.held)} there now")
    for name in told.held:
        click.echo(f"{name}: held at {size_text(told.sizes.get(name))}, it may still grow")
    if guest is not None and not told.held:
        click.echo(f"{guest}: held, once it is there")


@click.command()
@click.argument("guest", required=False, shell_complete=complete_guest)
@json_option
@socket_option
def unhold(guest: str | None, as_json: bool, path: Path) -> None:
    """Balance GUEST again; a size that was set by hand is its ceiling no more. Without GUEST: all."""
    data = ask(path, "unhold", {"guest": guest})
    if as_json:
        click.echo(bytes(data))
        return
    told = _decoded(data, _Held, path)
    click.echo("every guest is balanced again" if guest is None else f"{guest}: balanced again")
    for name, size in told.ceilings_taken_back.items():
        click.echo(f"{name}: its ceiling of {size_text(size)}, set by hand, is taken back")


@click.command(name="set")
@click.argument("guest", shell_complete=complete_guest)
@click.argument("bounds", nargs=-1, required=True, metavar="floor=SIZE ceiling=SIZE shares=N")
@json_option
@socket_option
def set_(guest: str, bounds: tuple[str, ...], as_json: bool, path: Path) -> None:
    """Give GUEST other bounds or shares until the daemon ends; prints the lines that make them last."""
    args: dict[str, object] = {"guest": guest}
    for bound in bounds:
        key, equals, value = bound.partition("=")
        if key not in _KEYS or not equals:
            raise BadInput(f"{bound[:60]!r} sets nothing; give {', '.join(f'{name}=..' for name in _KEYS)}")
        if key in args:
            raise BadInput(f"{key} is given twice; give it once")
        args[key] = _shares(value) if key == "shares" else value
    data = ask(path, "set", args)
    if as_json:
        click.echo(bytes(data))
        return
    told = _decoded(data, _Set, path)
    click.echo(
        f"{told.guest}: floor {size_text(told.floor)}, ceiling {size_text(told.ceiling)}, shares {told.shares}, "
        "until the daemon ends\nto make it last, write into the configuration:\n\n"
        f"{told.config}"
    )


def _shares(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 7):
        raise BadInput(f"shares {text[:40]!r} is no whole number from 1 to 1000000; the default is 1000")
    return int(text)


@click.command()
@click.argument("size")
@click.option(
    "--for", "name", metavar="NAME", help="The guest that it is for.  [default: whichever comes next]"
)
@click.option(
    "--timeout", default="30s", show_default=True, help="How long to try, and how long to keep it unused."
)
@json_option
@socket_option
def room(size: str, name: str | None, timeout: str, as_json: bool, path: Path) -> None:
    """Make room of SIZE for a guest about to start, and keep it until the guest is there."""
    wanted, timeout_s = parse_size(size), parse_duration(timeout)
    args = {"size": wanted, "for": name, "timeout_s": timeout_s}
    data = ask(path, "room", args, patience_s=timeout_s + PATIENCE_S)
    if as_json:
        click.echo(bytes(data))
        return
    told = _decoded(data, _Room, path)
    whose = name or "the next guest"
    if told.kept_s:
        click.echo(f"{size_text(told.got)} are there for {whose}, and kept for {told.kept_s:g} s")
    else:
        click.echo(f"{whose} has come already; {size_text(told.got)} were there for it")


def _decoded(data: msgspec.Raw, kind: type[T], path: Path) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise CouldNot(f"the answer from {path} is not one of this version ({error}); use --json") from None
