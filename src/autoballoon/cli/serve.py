"""`run` and `check`: the verbs that take a configuration file."""

import asyncio
import contextlib
import gc
import glob
import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import msgspec

from autoballoon.cli.connect import held_by_daemon
from autoballoon.core.errors import AutoballoonError, BadInput, CouldNot
from autoballoon.core.model import Host
from autoballoon.core.overload import CHOICES
from autoballoon.core.units import size_text
from autoballoon.daemon.bounds import Bounds
from autoballoon.daemon.config import DEFAULT_SOCKET, Config, address_of, load
from autoballoon.daemon.journal import Form, log_to_stderr
from autoballoon.daemon.loop import Daemon
from autoballoon.daemon.parts import refuse_others_sockets
from autoballoon.daemon.release import release as let_run
from autoballoon.guests.libvirt_api import load_libvirt
from autoballoon.guests.qmp_checkup import NoBalloon, unusable
from autoballoon.guests.qmp_device import NO_BALLOON
from autoballoon.guests.qmp_wire import NotQmp, Unusable
from autoballoon.guests.sockets import shown, sockets
from autoballoon.host.find import qemu_behind
from autoballoon.host.guest_group import GuestGroups
from autoballoon.host.memory import HostReader

_GC = (20_000, 20, 20)
"""Objects made between two collections (700 by default): an event loop makes thousands a second, few in cycles."""
_LEVELS = ["debug", "info", "warning", "error"]


@click.command()
@click.option(
    "--config", "path", required=True, type=click.Path(readable=False, path_type=Path), help="The TOML file."
)
@click.option("--dry-run", is_flag=True, help="Decide and tell, and move nothing; whatever the file says.")
@click.option(
    "--release",
    is_flag=True,
    help="Only resume guests that a daemon which ended had stopped, lift limits that it had set, and exit.",
)
@click.option(
    "--no-asking", is_flag=True, help="For comparison: guests are not asked for statistics between ticks."
)
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def run(path: Path, dry_run: bool, release: bool, no_asking: bool, log_level: str, log_format: Form) -> None:
    """Balance guests until SIGTERM; SIGHUP reads the file again."""
    if release and dry_run:
        raise BadInput("--release resumes guests and --dry-run moves nothing; give one of them")

    def configuration() -> Config:
        config = load(path)
        return msgspec.structs.replace(config, dry_run=True) if dry_run else config

    log = log_to_stderr(log_level, log_format)
    try:
        if release:
            _release(path)
            return
        _go_before_guests()
        gc.collect()
        gc.freeze()  # what was imported stays for ever, and need not be looked through again and again
        gc.set_threshold(*_GC)
        asyncio.run(_live(Daemon(configuration, asks=not no_asking)))
    except AutoballoonError as error:
        if not log.to_journal:
            raise
        logging.getLogger("autoballoon").critical("%s", error)  # with its priority
        click.get_current_context().exit(error.exit_code)
    finally:
        log.close()


def _release(path: Path) -> None:
    """Let run, and tell whom. It is done also where the configuration cannot be used: nobody starts a daemon then.

    The state file is found by $STATE_DIRECTORY, which the unit sets, or beside the usual socket.
    """
    try:
        socket, unusable = load(path).socket, None
    except BadInput as error:
        socket, unusable = DEFAULT_SOCKET, error
    try:
        click.echo("\n".join(asyncio.run(let_run(socket))))
    except CouldNot as error:
        raise error if unusable is None else CouldNot(f"{unusable}; by {socket}: {error}") from None
    if unusable is not None:
        raise unusable


def _go_before_guests() -> None:
    """Run at nice -10, where that is allowed: who frees memory must not wait for those who fill it."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, min(-10, os.getpriority(os.PRIO_PROCESS, 0)))


async def _live(daemon: Daemon) -> None:
    loop = asyncio.get_running_loop()
    for leave in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(leave, daemon.stop)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    await daemon.run()


@click.command()
@click.argument("path", metavar="FILE", type=click.Path(readable=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print what would run as JSON.")
def check(path: Path, as_json: bool) -> None:
    """Say whether FILE can be used on this machine, and what would run."""
    config = load(path)
    with _naming(path):
        refuse_others_sockets(config.qmp)
        refuse_others_sockets(config.agent, "agent")
        refuse_others_sockets(config.qga, "qga")
        if config.libvirt:
            load_libvirt()
        if config.contain:
            GuestGroups().require()
        troubles, refused = _troubles(config)
        reader = HostReader(config.capacity)
        host = reader.read()
        reader.close()
    matches = {one: sorted(glob.glob(one)) for some in _globs(config).values() for one in some}  # noqa: PTH207
    told = refused | {one: str(error) for one, error in troubles.items()}
    if as_json:
        texts = {one: [shown(path) for path in found] for one, found in matches.items()}
        click.echo(msgspec.json.encode({"config": config, "host": host, "matches": texts, "troubles": told}))
    else:
        click.echo("\n".join(_would_run(path, config, host, matches, told)))
    lacking = [one for one, error in troubles.items() if isinstance(error, NoBalloon)]
    if lacking:
        raise CouldNot(f"{path}: {', '.join(lacking)}: {NO_BALLOON}, or take it out of [connect] qmp")


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An error in here names the file at `path`, in which it is to be mended."""
    try:
        yield
    except (BadInput, CouldNot) as error:
        raise type(error)(f"{path}: {error}") from None


def _would_run(
    path: Path,
    config: Config,
    host: Host,
    matches: Mapping[str, Sequence[str]],
    troubles: Mapping[str, str],
) -> list[str]:
    reserve = config.reserve.of(host.capacity)
    lines = [
        f"{path} can be used{' (DRY RUN)' if config.dry_run else ''}",
        f"host: {size_text(host.capacity)} ({config.capacity}), of it {size_text(reserve)} in reserve",
        f"loop: every {config.interval_s:g} s, policy {config.policy}",
        f"overload: {config.overload}: {CHOICES[config.overload]}",
        *(["contain: memory.high on each guest's own control group"] if config.contain else []),
        *(f"libvirt: {uri} (not connected to here; doctor does)" for uri in config.libvirt),
        *(
            f"{key}: {one}: {_there(one, matches[one])}"
            for key, some in _globs(config).items()
            for one in some
        ),
        *(f"qmp: {one}: {says}" for one, says in troubles.items()),
        *(f"guests {rule.glob}: {_bounds(config.bounds(rule.glob))}" for rule in config.rules),
        f"control: {config.socket}",
        *([f"metrics: {_served(config.metrics)}"] if config.metrics else []),
    ]
    if config.overload == "suspend" and not any(
        config.bounds(rule.glob).may_suspend for rule in config.rules
    ):
        lines.append("nobody may be suspended: no table has may_suspend = true")
    if not config.qmp and not config.libvirt:
        lines.append("no guest will be seen: [connect] names neither qmp nor libvirt")
    return lines


def _globs(config: Config) -> dict[str, Sequence[str]]:
    return {"qmp": config.qmp, "agent": config.agent, "qga": config.qga}


def _troubles(config: Config) -> tuple[dict[str, Unusable], dict[str, str]]:
    """What keeps sockets that are there now from being used, by path, and what is said of names that no one could tell.

    BadInput when a socket is not QEMU's at all.

    Those that a running daemon sees are not knocked at: a QMP server has one client, and it is that daemon.
    """
    seen = held_by_daemon(Path(config.socket))
    refused: dict[str, str] = {}
    others = [path for path in sockets(config.qmp, refused) if path not in seen]
    troubles = asyncio.run(unusable(others))
    for path, error in troubles.items():
        if isinstance(error, NotQmp):
            raise BadInput(f"[connect] qmp: {path} {error}")
        if not isinstance(error, NoBalloon) and os.geteuid() == 0 and qemu_behind(path, None) is None:
            raise BadInput(
                f"[connect] qmp: {path} is held open by no QEMU and answers as none; take it out of [connect] qmp"
            )
    return troubles, refused


def _there(pattern: str, found: Sequence[str]) -> str:
    """How many sockets; files that are none are named, for no guest can be behind them."""
    others = [shown(path) for path in found if not Path(path).is_socket()]
    says = f"{len(found) - len(others)} there now"
    if pattern.startswith(("/tmp/", "/var/tmp/")):
        says += (
            "; autoballoon.service has a /tmp of its own and will not see them: give them a folder in /run"
        )
    if os.geteuid() != 0:
        says += "; run as root to see those in folders that you may not read"
    return f"{says}; no socket: {', '.join(others)}" if others else says


def _served(listen: str) -> str:
    """Where metrics are served; and that the unit, as shipped, lets nobody else in."""
    says = f"http://{listen}/metrics"
    if address_of(listen)[0].is_loopback:
        return says
    return (
        f"{says}; autoballoon.service lets in loopback alone until IPAddressAllow= names Prometheus's address "
        "(systemctl edit autoballoon)"
    )


def _bounds(bounds: Bounds) -> str:
    if not bounds.manage:
        return "left alone"
    may = ", may be suspended" if bounds.may_suspend else ""
    sizes = f"floor {bounds.floor}, ceiling {bounds.ceiling}, headroom {bounds.headroom}"
    return f"{sizes}, shares {bounds.shares}{may}"
