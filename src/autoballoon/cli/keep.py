"""`record` and `replay`: what the daemon tells written down, and any policy tried on it."""

import signal
import time
from pathlib import Path
from types import FrameType

import click
import msgspec

from autoballoon.cli.connect import json_option, socket_option, watch
from autoballoon.core.engine import Engine, Rules
from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.replaying import Replay
from autoballoon.core.units import Portion, parse_size, size_text
from autoballoon.daemon.recorder import LEAST_LIMIT, Moment, Recording, Writer
from autoballoon.policies import policy_named
from autoballoon.views import replay as view


@click.command()
@click.argument("file", required=False, type=click.Path(readable=False, path_type=Path))
@click.option("--limit", default="256MiB", show_default=True, help="What FILE and FILE.1 take at most.")
@socket_option
def record(file: Path | None, limit: str, path: Path) -> None:
    """Write down what the daemon sees and decides, tick by tick, into FILE, until Ctrl-C."""
    most = parse_size(limit)
    if most < LEAST_LIMIT:
        raise BadInput(f"--limit {limit} holds nothing; give at least {size_text(LEAST_LIMIT)}")
    told = watch(path)
    first = next(told, None)
    writer = Writer(file or Path(time.strftime("autoballoon-%Y%m%d-%H%M%S.rec.gz")), most)
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        if first is not None:
            writer.add(first)
        for status in told:
            writer.add(status)
    except KeyboardInterrupt:
        pass
    except msgspec.DecodeError as error:
        raise CouldNot(f"the status from {path} is not one of this version ({error})") from None
    finally:
        signal.signal(signal.SIGTERM, before)
        writer.close()
    click.echo(f"{writer.path}: {writer.lines} ticks, {writer.written} bytes", err=True)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@click.command()
@click.argument("file", type=click.Path(readable=False, path_type=Path))
@click.option("--policy", help="The policy that is tried.  [default: the recorded one]")
@json_option
def replay(file: Path, policy: str | None, as_json: bool) -> None:
    """Run a policy over a recording, and tell what it would have decided otherwise."""
    if policy is not None:
        policy_named(policy)
    recording = Recording(file)
    summary, run, daemon = None, None, None
    for moment in recording:
        if run is None or summary is None or _began_anew(daemon, moment):
            recorded = Engine(_rules(moment), policy_named(moment.daemon.policy))
            tried = Engine(recorded.rules, policy_named(policy or moment.daemon.policy))
            run = Replay(recorded, tried, moment.daemon.up_s)
            summary = summary or view.Summary(str(file), recorded.policy.name, tried.policy.name)
        daemon = moment
        keys = {guest.name: guest.key for guest in moment.snapshot.guests}
        targets = {
            keys[one.guest]: one.target for one in moment.told if one.guest in keys and one.target is not None
        }
        decided = run.step(moment.snapshot, moment.decisions, targets, moment.now)
        summary.add(moment.at, moment.decisions, decided)
    assert summary is not None  # a recording has a moment, or is refused
    summary.cut_off = recording.cut_off
    click.echo(msgspec.json.encode(summary) if as_json else view.text(summary, local_time))


def _began_anew(before: Moment | None, moment: Moment) -> bool:
    """Another daemon, or one with other rules: its state is not that of the one before."""
    if before is None:
        return True
    one, two = before.daemon, moment.daemon
    return (
        one.pid != two.pid
        or moment.now < before.now
        or (one.policy, one.overload, one.dry_run) != (two.policy, two.overload, two.dry_run)
        or one.account.reserve != two.account.reserve
    )


def _rules(moment: Moment) -> Rules:
    daemon = moment.daemon
    return Rules(
        reserve=Portion(amount=daemon.account.reserve),
        overload=daemon.overload,
        interval_s=daemon.interval_s,
        dry_run=daemon.dry_run,
    )


def local_time(at_s: float) -> str:
    """Date and time of day here."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))
