"""The configuration file: one TOML file, compiled whole or refused whole.

Every refusal is one sentence that names the file, the table and key, and the mend. docs/reference/config.md
lists each key with its unit, default and reason.
"""

import fnmatch
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from autoballoon.core.errors import BadInput
from autoballoon.core.overload import CHOICES
from autoballoon.core.units import MIB, Portion, parse_duration, parse_portion, parse_size, size_text
from autoballoon.daemon.bounds import Bounds, Rule, rules_of
from autoballoon.daemon.tables import Table, at, load_toml, read_table, tables_of
from autoballoon.guests.libvirt_uri import check_uri
from autoballoon.policies import policy_named

SHORTEST_INTERVAL_S, LONGEST_INTERVAL_S = 0.1, 60.0
"""Statistics come once a second, so ticking faster sees nothing new; slower than a minute guards nothing."""
LEAST_CAPACITY = 64 * MIB
"""No guest runs in less: a unit was forgotten, or another one meant."""
LARGEST_SIZE = 1 << 50
"""1 PiB: more is a slip of the pen, and the numbers stay within 64 bits."""
LONGEST_SOCKET_PATH = 107
"""Bytes in `sun_path` less the closing zero: unix(7)."""
DEFAULT_SOCKET = "/run/autoballoon/control.sock"


class _Host(Table, frozen=True):
    capacity: str = "auto"
    reserve: str = "5%"
    overload: str = "host-swap"
    dry_run: bool = False
    contain: bool = False


class _Loop(Table, frozen=True):
    interval: str = "1s"


class _Connect(Table, frozen=True):
    qmp: list[str] = msgspec.field(default_factory=list)
    agent: list[str] = msgspec.field(default_factory=list)
    qga: list[str] = msgspec.field(default_factory=list)
    libvirt: list[str] = msgspec.field(default_factory=list)


class _Control(Table, frozen=True):
    socket: str = DEFAULT_SOCKET


class _Metrics(Table, frozen=True):
    listen: str = "127.0.0.1:9177"


class _Policy(Table, frozen=True):
    name: str = "ladder"


class Config(msgspec.Struct, frozen=True):
    """A configuration that has been checked and compiled."""

    qmp: tuple[str, ...] = ()
    agent: tuple[str, ...] = ()
    """Sockets of the agents in the guests."""
    qga: tuple[str, ...] = ()
    """Sockets of qemu-guest-agents."""
    libvirt: tuple[str, ...] = ()
    """Connection URIs of this host's libvirt."""
    capacity: str | int = "auto"
    """"auto", bytes, or "cgroup:PATH"."""
    reserve: Portion = Portion(share=0.05)
    overload: str = "host-swap"
    dry_run: bool = False
    contain: bool = False
    """memory.high on each guest's own control group."""
    interval_s: float = 1.0
    socket: str = DEFAULT_SOCKET
    metrics: str | None = None
    """Where /metrics is served, "ADDRESS:PORT"; None: nowhere."""
    policy: str = "ladder"
    rules: tuple[Rule, ...] = ()

    def bounds(self, name: str) -> Bounds:
        """The bounds of the guest `name`: every table whose glob matches, in file order; later keys win."""
        merged: dict[str, Any] = {}
        for rule in self.rules:
            if fnmatch.fnmatchcase(name, rule.glob):
                merged.update(rule.sets)
        return Bounds(**merged)


def load(path: Path) -> Config:
    """The configuration in the file at `path`. BadInput when it cannot be read or used."""
    return load_toml(path, parse, "configuration of autoballoon")


def parse(text: str) -> Config:
    """The configuration in `text`. BadInput, naming the table and key, when any part of it cannot be used."""
    return compiled(tables_of(text))


def compiled(tables: Mapping[str, Any]) -> Config:
    """The configuration in these tables. BadInput as for `parse`."""
    known = ("host", "loop", "connect", "defaults", "guests", "control", "metrics", "policy")
    for name in tables:
        if name not in known:
            raise BadInput(f"there is no [{name[:40]}]; the tables are {', '.join(known)}")
    host = read_table(_Host, tables, "host")
    connect = read_table(_Connect, tables, "connect")
    control = read_table(_Control, tables, "control")
    return Config(
        qmp=tuple(_absolute(glob, "[connect] qmp") for glob in connect.qmp),
        agent=tuple(_absolute(glob, "[connect] agent") for glob in connect.agent),
        qga=tuple(_absolute(glob, "[connect] qga") for glob in connect.qga),
        libvirt=tuple(_libvirt(uri) for uri in connect.libvirt),
        capacity=_capacity(host.capacity),
        reserve=_reserve(host.reserve),
        overload=_overload(host.overload),
        dry_run=host.dry_run,
        contain=host.contain,
        interval_s=_interval(read_table(_Loop, tables, "loop").interval),
        socket=_socket(control.socket),
        metrics=_listen(read_table(_Metrics, tables, "metrics").listen) if "metrics" in tables else None,
        policy=_policy(read_table(_Policy, tables, "policy").name),
        rules=rules_of(tables),
    )


def _absolute(path: str, place: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise BadInput(f"{place} {path[:80]!r} is not an absolute path; begin it with /")
    return path


def _libvirt(uri: str) -> str:
    try:
        return check_uri(uri)
    except BadInput as error:
        raise at("[connect] libvirt", error) from None


def _capacity(text: str) -> str | int:
    if text == "auto":
        return text
    if text.startswith("cgroup:"):
        return "cgroup:" + _absolute(text.removeprefix("cgroup:"), "[host] capacity")
    try:
        size = parse_size(text)
    except BadInput as error:
        raise at('[host] capacity is neither "auto" nor "cgroup:/PATH"', error) from None
    if not LEAST_CAPACITY <= size <= LARGEST_SIZE:
        raise BadInput(
            f"[host] capacity must be between {size_text(LEAST_CAPACITY)} and 1 PiB, and {text} is not;"
            ' write "auto" for all of the host'
        )
    return size


def _reserve(text: str) -> Portion:
    try:
        reserve = parse_portion(text)
    except BadInput as error:
        raise at("[host] reserve", error) from None
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
        raise at("[loop] interval", error) from None
    if not SHORTEST_INTERVAL_S <= interval <= LONGEST_INTERVAL_S:
        raise BadInput(f'[loop] interval {text!r} is not between 100ms and 60s; the default is "1s"')
    return interval


def _policy(name: str) -> str:
    try:
        policy_named(name)
    except BadInput as error:
        raise at("[policy] name", error) from None
    return name


def _socket(path: str) -> str:
    _absolute(path, "[control] socket")
    if len(path.encode()) > LONGEST_SOCKET_PATH:
        raise BadInput(f"[control] socket is longer than {LONGEST_SOCKET_PATH} bytes; choose a shorter path")
    if not Path(path).name:
        raise BadInput(f"[control] socket {path!r} is a folder; name a file in one, as in {DEFAULT_SOCKET}")
    return path


def _listen(text: str) -> str:
    """The address as it is to be bound. Names are refused: looking one up may take seconds, or lead elsewhere."""
    try:
        address_of(text)
    except ValueError:
        raise BadInput(
            f'[metrics] listen {text[:60]!r} is no address and port; write it like "127.0.0.1:9177" or "[::1]:9177"'
        ) from None
    return text


def address_of(listen: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    """Address and port of "ADDRESS:PORT", one of version 6 in brackets; ValueError when it is none."""
    host, _, port = listen.rpartition(":")
    address = ipaddress.ip_address(host.strip("[]"))
    is_port = port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 1 << 16
    if not is_port or (address.version == 6) != host.startswith("["):
        raise ValueError(listen)
    return address, int(port)
