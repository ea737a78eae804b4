"""The configuration file: one TOML file, compiled whole or refused whole.

Every refusal is one sentence that names the file, the table and key, and the mend. docs/reference/config.md
lists each key with its unit, default and reason.
"""

import fnmatch
import ipaddress
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from autoballoon.core.errors import BadInput
from autoballoon.core.overload import CHOICES
from autoballoon.core.units import PAGE, Portion, page_floor, parse_duration, parse_portion, parse_size
from autoballoon.guests.libvirt_uri import check_uri
from autoballoon.policies import policy_named

LONGEST_CONFIG = 1 << 20
"""Bytes; a larger file is no configuration of ours."""
SHORTEST_INTERVAL_S, LONGEST_INTERVAL_S = 0.1, 60.0
"""Statistics come once a second, so ticking faster sees nothing new; slower than a minute guards nothing."""
LARGEST_SIZE = 1 << 50
"""1 PiB: more is a slip of the pen, and the numbers stay within 64 bits."""
LONGEST_SOCKET_PATH = 107
"""Bytes in `sun_path` less the closing zero: unix(7)."""
DEFAULT_SOCKET = "/run/autoballoon/control.sock"


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table as written; text is compiled afterwards."""


class _Host(_Table, frozen=True):
    capacity: str = "auto"
    reserve: str = "5%"
    overload: str = "host-swap"
    dry_run: bool = False
    contain: bool = False


class _Loop(_Table, frozen=True):
    interval: str = "1s"


class _Connect(_Table, frozen=True):
    qmp: list[str] = []
    agent: list[str] = []
    qga: list[str] = []
    libvirt: list[str] = []


class _Bounds(_Table, frozen=True):
    floor: str | None = None
    ceiling: str | None = None
    headroom: str | None = None
    shares: int | None = None
    may_suspend: bool | None = None
    manage: bool | None = None


class _Control(_Table, frozen=True):
    socket: str = DEFAULT_SOCKET


class _Metrics(_Table, frozen=True):
    listen: str = "127.0.0.1:9177"


class _Policy(_Table, frozen=True):
    name: str = "ladder"


class Bounds(msgspec.Struct, frozen=True):
    """What the operator allows one guest; floor, ceiling and headroom are of its configured RAM."""

    floor: Portion = Portion(share=0.25)
    ceiling: Portion = Portion(share=1.0)
    headroom: Portion = Portion(share=0.25)
    """The most of it, whatever the guest reports and however it has fought."""
    shares: int = 1000
    manage: bool = True
    may_suspend: bool = False

    def within(self, ram: int, wanted: int = 0) -> tuple[int, int, bool]:
        """(floor, ceiling, fits) in bytes with `ram` bytes of RAM; a floor that does not fit is lowered.

        `wanted` is the size that the guest's own configuration gives it (libvirt's <currentMemory>), 0 for none: a
        ceiling too.
        """
        ceiling = min(max(page_floor(min(self.ceiling.of(ram), wanted or ram)), PAGE), ram)
        floor = min(page_floor(self.floor.of(ram)), ram)
        return min(floor, ceiling), ceiling, floor <= ceiling


class _Rule(msgspec.Struct, frozen=True):
    """The keys that one table sets for the guests that its glob matches."""

    glob: str
    sets: dict[str, Any]


class Config(msgspec.Struct, frozen=True):
    """A configuration that has been checked and compiled."""

    qmp: tuple[str, ...] = ()
    libvirt: tuple[str, ...] = ()
    """Connection URIs of this host's libvirt."""
    capacity: str | int = "auto"
    """"auto", bytes, or "cgroup:PATH"."""
    reserve: Portion = Portion(share=0.05)
    overload: str = "host-swap"
    dry_run: bool = False
    interval_s: float = 1.0
    socket: str = DEFAULT_SOCKET
    metrics: str | None = None
    """Where /metrics is served, "ADDRESS:PORT"; None: nowhere."""
    policy: str = "ladder"
    rules: tuple[_Rule, ...] = ()

    def bounds(self, name: str) -> Bounds:
        """The bounds of the guest `name`: every table whose glob matches, in file order; later keys win."""
        merged: dict[str, Any] = {}
        for rule in self.rules:
            if fnmatch.fnmatchcase(name, rule.glob):
                merged.update(rule.sets)
        return Bounds(**merged)


Read = TypeVar("Read")


def load(path: Path) -> Config:
    """The configuration in the file at `path`. BadInput when it cannot be read or used."""
    return load_toml(path, parse, "configuration of autoballoon", "give --config an existing file")


def load_toml(path: Path, parse: Callable[[str], Read], what: str, mend: str) -> Read:
    """What `parse` makes of the file at `path`: bounded, UTF-8, every BadInput with the path in front.

    `what` names what the file should be, `mend` what to do where there is none.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LONGEST_CONFIG + 1)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); {mend}") from None
    if len(raw) > LONGEST_CONFIG:
        raise BadInput(f"{path}: is larger than 1 MiB; this is no {what}")
    try:
        return parse(raw.decode())
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not UTF-8 text; write it as TOML") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def parse(text: str) -> Config:
    """The configuration in `text`. BadInput, naming the table and key, when any part of it cannot be used."""
    try:
        return compiled(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadInput(f"is not TOML: {' '.join(str(error).split())[:200]}") from None


def compiled(tables: Mapping[str, Any]) -> Config:
    """The configuration in these tables. BadInput as for `parse`."""
    known = ("host", "loop", "connect", "defaults", "guests", "control", "metrics", "policy")
    for name in tables:
        if name not in known:
            raise BadInput(f"there is no [{name[:40]}]; the tables are {', '.join(known)}")
    host = _read_table(_Host, tables, "host")
    connect = _read_table(_Connect, tables, "connect")
    control = _read_table(_Control, tables, "control")
    _refuse_what_comes_later(host, connect)
    return Config(
        qmp=tuple(_absolute(glob, "[connect] qmp") for glob in connect.qmp),
        libvirt=tuple(_libvirt(uri) for uri in connect.libvirt),
        capacity=_capacity(host.capacity),
        reserve=_reserve(host.reserve),
        overload=_overload(host.overload),
        dry_run=host.dry_run,
        interval_s=_interval(_read_table(_Loop, tables, "loop").interval),
        socket=_socket(control.socket),
        metrics=_listen(_read_table(_Metrics, tables, "metrics").listen) if "metrics" in tables else None,
        policy=_policy(_read_table(_Policy, tables, "policy").name),
        rules=_rules(tables),
    )


_WRITTEN = {
    "str": "text in quotes",
    "bool": "true or false",
    "int": "a whole number",
    "array": "a list: [...]",
}

T = TypeVar("T", bound=_Table)


def _read_table(kind: type[T], tables: Mapping[str, Any], name: str) -> T:
    return _decode(kind, tables.get(name, {}), f"[{name}]")


def _decode(kind: type[T], raw: Any, place: str) -> T:
    if not isinstance(raw, dict):
        raise BadInput(f"{place} must be a table; write {place} on a line of its own")
    for key in raw:
        if key not in kind.__struct_fields__:
            raise BadInput(
                f"{place} has no key {key[:40]!r}; its keys are {', '.join(kind.__struct_fields__)}"
            )
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        wanted = what.removeprefix("Expected `").partition("`")[0].partition(" ")[0]
        raise BadInput(f"{place} {where.strip('`.')}: must be {_WRITTEN.get(wanted, wanted)}") from None


def _refuse_what_comes_later(host: _Host, connect: _Connect) -> None:
    """Refuse what is documented and not yet done: better than to accept it and do nothing."""
    for key in ("agent", "qga"):
        if getattr(connect, key):
            raise BadInput(f"[connect] {key} is not in this version; remove it and connect through qmp")
    if host.contain:
        raise BadInput("[host] contain = true is not in this version; remove it")


def _at(place: str, error: BadInput) -> BadInput:
    return BadInput(f"{place}: {error}")


def _absolute(path: str, place: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise BadInput(f"{place} {path[:80]!r} is not an absolute path; begin it with /")
    return path


def _libvirt(uri: str) -> str:
    try:
        return check_uri(uri)
    except BadInput as error:
        raise _at("[connect] libvirt", error) from None


def _capacity(text: str) -> str | int:
    if text == "auto":
        return text
    if text.startswith("cgroup:"):
        return "cgroup:" + _absolute(text.removeprefix("cgroup:"), "[host] capacity")
    try:
        size = parse_size(text)
    except BadInput as error:
        raise _at('[host] capacity is neither "auto" nor "cgroup:/PATH"', error) from None
    if not 0 < size <= LARGEST_SIZE:
        raise BadInput('[host] capacity must be between nothing and 1 PiB; write "auto" for all of the host')
    return size


def _reserve(text: str) -> Portion:
    try:
        reserve = parse_portion(text)
    except BadInput as error:
        raise _at("[host] reserve", error) from None
    if reserve.share == 1.0 or (reserve.amount or 0) > LARGEST_SIZE:
        raise BadInput(f"[host] reserve of {text} leaves nothing for guests; the default is 5%")
    return reserve


def _overload(choice: str) -> str:
    if choice not in CHOICES:
        known = ", ".join(f'"{name}"' for name in CHOICES)
        raise BadInput(f"[host] overload {choice[:40]!r} is no choice; write one of {known}")
    return choice


def _interval(text: str) -> float:
    try:
        interval = parse_duration(text)
    except BadInput as error:
        raise _at("[loop] interval", error) from None
    if not SHORTEST_INTERVAL_S <= interval <= LONGEST_INTERVAL_S:
        raise BadInput(f'[loop] interval {text!r} is not between 100ms and 60s; the default is "1s"')
    return interval


def _policy(name: str) -> str:
    try:
        policy_named(name)
    except BadInput as error:
        raise _at("[policy] name", error) from None
    return name


def _socket(path: str) -> str:
    _absolute(path, "[control] socket")
    if len(path.encode()) > LONGEST_SOCKET_PATH:
        raise BadInput(f"[control] socket is longer than {LONGEST_SOCKET_PATH} bytes; choose a shorter path")
    return path


def _listen(text: str) -> str:
    """The address as it is to be bound. Names are refused: looking one up may take seconds, or lead elsewhere."""
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        address = None
    is_port = port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 1 << 16
    if address is None or not is_port or (address.version == 6) != host.startswith("["):
        raise BadInput(
            f'[metrics] listen {text[:60]!r} is no address and port; write it like "127.0.0.1:9177" or "[::1]:9177"'
        )
    return text


def _rules(tables: Mapping[str, Any]) -> tuple[_Rule, ...]:
    """[defaults] for every guest, then each [guests."GLOB"] in file order."""
    guests = tables.get("guests", {})
    if not isinstance(guests, dict):
        raise BadInput('[guests] must hold tables; write [guests."GLOB"]')
    defaults = compile_bounds(tables.get("defaults", {}), "[defaults]")
    rules = [_Rule("*", defaults)]
    for glob, raw in guests.items():
        place = f'[guests."{glob[:40]}"]'
        sets = compile_bounds(raw, place)
        _refuse_crossed(Bounds(**(defaults | sets)), place)
        rules.append(_Rule(glob, sets))
    _refuse_crossed(Bounds(**defaults), "[defaults]")
    return tuple(rules)


def compile_bounds(raw: Any, place: str) -> dict[str, Any]:
    table = _decode(_Bounds, raw, place)
    sets: dict[str, Any] = {}
    for key in ("floor", "ceiling", "headroom"):
        text = getattr(table, key)
        if text is not None:
            try:
                sets[key] = parse_portion(text)
            except BadInput as error:
                raise _at(f"{place} {key}", error) from None
    if "ceiling" in sets and sets["ceiling"].of(1 << 40) <= 0:
        raise BadInput(
            f"{place} ceiling must be more than nothing; to leave a guest alone write manage = false"
        )
    if table.shares is not None:
        if not 1 <= table.shares <= 1_000_000:
            raise BadInput(f"{place} shares {table.shares} is not between 1 and 1000000; the default is 1000")
        sets["shares"] = table.shares
    for key in ("manage", "may_suspend"):
        if getattr(table, key) is not None:
            sets[key] = getattr(table, key)
    return sets


def _refuse_crossed(bounds: Bounds, place: str) -> None:
    """Refuse a floor above its ceiling where both are sizes, or both shares; else only RAM can tell."""
    floor, ceiling = bounds.floor, bounds.ceiling
    crossed = (floor.amount is not None and ceiling.amount is not None and floor.amount > ceiling.amount) or (
        floor.share is not None and ceiling.share is not None and floor.share > ceiling.share
    )
    if crossed:
        raise BadInput(
            f"{place} floor {floor} is above ceiling {ceiling}; lower the floor or raise the ceiling"
        )
