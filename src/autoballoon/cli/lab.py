"""`autoballoon lab`: real guests on a host that really swaps, off against on."""

import asyncio
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.units import MIB, parse_size

if TYPE_CHECKING:
    from autoballoon.lab.arms import Arm
    from autoballoon.lab.experiments import Experiment


@click.group()
def lab() -> None:
    """Measure on real guests in real QEMU."""


@lab.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the experiments."""
    from autoballoon.lab.experiments import EXPERIMENTS  # noqa: PLC0415  (the lab is heavy to import)

    if as_json:
        click.echo(msgspec.json.encode(EXPERIMENTS))
        return
    for experiment in EXPERIMENTS:
        arms = ", ".join(dict.fromkeys(arm.short for arm in experiment.arms))
        variants = {arm.variant.name: arm.variant for arm in experiment.arms if arm.variant.name}
        click.echo(
            f"{experiment.name:<10} {experiment.says}\n"
            f"{'':<10} {experiment.guests} guests, host of {experiment.limit // MIB} MiB; arms {arms}"
        )
        for variant in variants.values():
            click.echo(f"{'':<10} @{variant.name}: {variant.says}")


@lab.command()
def driver() -> None:
    """Build the guests' balloon driver, and print where the module is."""
    from autoballoon.lab.driver import build_driver  # noqa: PLC0415

    click.echo(build_driver(lambda said: click.echo(said, err=True)))


@lab.command("run")
@click.argument("name")
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Runs of each arm, interleaved; every other round in the opposite order.",
)
@click.option(
    "--guests",
    type=click.IntRange(1, 64),
    help="How many guests; without --limit the host shrinks in proportion.",
)
@click.option("--limit", metavar="SIZE", help='What all guests together may hold, such as "2600MiB".')
@click.option("--policy", help="The controller's policy (ladder); peers and over name it for each arm.")
@click.option(
    "--arms",
    metavar="A,B",
    help="Only these (off; off@fast; @fast for all of a variant), or all. Without it, for one round, few.",
)
@click.option(
    "--rate",
    type=click.IntRange(1, 100_000),
    metavar="MIB",
    help="How fast a guest takes memory, MiB/s (150).",
)
@click.option("--phases", type=click.IntRange(1, 1000), help="How often each guest takes memory (3).")
@click.option(
    "--period",
    type=click.IntRange(1, 3600),
    metavar="S",
    help="A guest takes memory once in so many seconds.",
)
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True)
@click.option("--beside", is_flag=True, help="Run although other QEMU processes are running.")
@click.option(
    "--out",
    type=click.Path(readable=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of results.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON instead of the table.")
def run(name: str, **flags: Any) -> None:
    """Run an experiment and print its table; progress goes to stderr."""
    from autoballoon.lab import tidy  # noqa: PLC0415
    from autoballoon.lab.progress import Progress  # noqa: PLC0415
    from autoballoon.lab.publish import publish  # noqa: PLC0415
    from autoballoon.lab.runner import run_experiment  # noqa: PLC0415
    from autoballoon.views.lab_table import table  # noqa: PLC0415

    wish = _wish(name, flags)
    progress = Progress(sys.stderr, wish.experiment.guests)
    try:
        results, folder = asyncio.run(run_experiment(wish, progress))
    except asyncio.CancelledError as ended:
        left = "the next `lab run` removes what is left" if tidy.remains() else "all that it made is removed"
        raise CouldNot(f"the lab was ended by a signal; {left}") from ended
    try:
        progress.say(publish(folder))
    finally:  # a picture that cannot be written takes nothing from the table
        click.echo(msgspec.json.encode(results) if flags["as_json"] else table(results))


def _wish(name: str, flags: dict[str, Any]) -> Any:
    from autoballoon.lab.experiments import arms_named, experiment_named, with_guests  # noqa: PLC0415
    from autoballoon.lab.runner import Wish  # noqa: PLC0415
    from autoballoon.policies import policy_named  # noqa: PLC0415

    experiment = experiment_named(name)
    if flags["policy"] is not None:
        policy_named(flags["policy"])
    fixed = {
        "--policy": all(arm.policy or not arm.controller for arm in experiment.every_arm),
        "--limit": any(arm.variant.limit for arm in experiment.every_arm),
    }
    for flag, is_fixed in fixed.items():
        if is_fixed and flags[flag.removeprefix("--")]:
            raise BadInput(
                f"{flag} cannot be given to {name}, whose arms each have their own; choose with --arms"
            )
    if flags["guests"]:
        experiment = with_guests(experiment, flags["guests"])
    arms = arms_named(experiment, flags["arms"], flags["rounds"])
    if flags["rate"]:
        _must_take_rate(experiment, arms)
    if flags["limit"] is not None:
        experiment = msgspec.structs.replace(experiment, limit=_limit(flags["limit"]))
    wave = dict(experiment.wave)
    if flags["rate"]:
        wave["rate_mib"] = flags["rate"]
    if flags["phases"]:
        wave["phases"] = flags["phases"]
    experiment = msgspec.structs.replace(experiment, wave=wave)
    if flags["period"]:
        experiment = msgspec.structs.replace(experiment, period_ms=1000 * flags["period"])
    unusual = {
        "policy": flags["policy"] not in (None, "ladder"),
        **{flag: flags[flag] is not None for flag in ("rate", "phases", "period")},
    }
    return Wish(
        experiment=experiment,
        arms=arms,
        rounds=flags["rounds"],
        policy=flags["policy"] or "ladder",
        accel=flags["accel"],
        beside=flags["beside"],
        out=flags["out"],
        command=shlex.join(["autoballoon", *sys.argv[1:]]),
        differs=tuple(f"--{flag} {flags[flag]}" for flag, is_so in unusual.items() if is_so),
    )


def _must_take_rate(experiment: "Experiment", arms: "tuple[Arm, ...]") -> None:
    """BadInput where --rate would change nothing of these arms, or what an arm's name says of it."""
    if all(experiment.workload_of(arm) != "wave" for arm in arms):
        raise BadInput(
            f"--rate cannot be given to these arms of {experiment.name}, whose guests take memory as they need it; "
            "leave it out"
        )
    if own := [arm.name for arm in arms if "rate_mib" in arm.variant.wave]:
        raise BadInput(
            f"--rate cannot be given to {own[0]}, whose guests have a rate of their own; choose others with --arms"
        )


def _limit(text: str) -> int:
    size = parse_size(text)
    if size < 256 * MIB:
        raise BadInput(f"--limit {text[:40]} is too small for any guest; give at least 256MiB")
    return size
