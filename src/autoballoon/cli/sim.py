"""`autoballoon sim`: policies in simulated worlds, and a scoreboard."""

import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from autoballoon.core.errors import BadInput, CouldNot


@click.group()
def sim() -> None:
    """Compare policies on simulated hosts, in virtual time."""


@sim.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the scenarios."""
    from autoballoon.sim.scenario import load, names  # noqa: PLC0415  (only when it is used)

    found = [(name, load(name)) for name in names()]
    if as_json:
        rows = [
            {
                "name": name, "says": one.says, "duration_s": float(one.duration),
                "guests": sum(group.count for group in one.guests),
                "must": [type(must).__struct_config__.tag for must in one.must], "switches": one.switches,
            }
            for name, one in found
        ]  # fmt: skip
        click.echo(msgspec.json.encode(rows))
        return
    width = max(len(name) for name, _ in found)
    for name, one in found:
        click.echo(f"{name:<{width}}  {one.says}")


@sim.command("run")
@click.argument("name")
@click.option(
    "--policy", "policies", metavar="P,P", help="Only these; without it the ladder and every other rule."
)
@click.option(
    "--no-oracle", is_flag=True, help="Without the oracle, which takes three runs of each scenario."
)
@click.option("--seed", type=click.IntRange(0, 1 << 62), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON instead of the scoreboard.")
@click.option(
    "--plot",
    type=click.Path(readable=False, path_type=Path),
    metavar="F",
    help="Draw one scenario's targets, sizes and demands into the page F.",
)
def run(
    name: str, policies: str | None, no_oracle: bool, seed: int, as_json: bool, plot: Path | None
) -> None:
    """Run the scenario NAME, or the one in a file NAME.toml, or all; progress goes to stderr."""
    from autoballoon.policies import POLICIES, policy_named  # noqa: PLC0415
    from autoballoon.sim.run import run_all  # noqa: PLC0415
    from autoballoon.sim.scenario import load, names  # noqa: PLC0415
    from autoballoon.views.scoreboard import OURS, table  # noqa: PLC0415
    from autoballoon.views.sim_results import ORACLE  # noqa: PLC0415

    wanted = [one.strip() for one in policies.split(",") if one.strip()] if policies else [*POLICIES]
    if not wanted:
        raise BadInput(f"--policy names no policy; the policies are {', '.join(sorted(POLICIES))}")
    for one in wanted:
        policy_named(one)
    scenarios = names() if name == "all" else [name]
    for one in scenarios:
        load(one)
    arms = [*dict.fromkeys(wanted), *([] if no_oracle else [ORACLE])]
    if plot is not None:
        results = _plot(scenarios, arms, seed, plot)
    else:
        results = []
        with _bar(len(scenarios) * len(arms)) as bar:
            for result in run_all(scenarios, arms, seed, min(os.cpu_count() or 1, 2)):
                results.append(result)
                bar.update(1, f"{result.scenario} with {result.policy}")
    results.sort(key=lambda one: (scenarios.index(one.scenario), arms.index(one.policy)))
    click.echo(msgspec.json.encode({"v": 1, "results": results}) if as_json else table(results))
    failed = sorted({r.scenario for r in results if r.policy == OURS and (r.unmet or r.broken)})
    if failed:
        raise CouldNot(
            f"the ladder does not keep what must hold in {', '.join(failed)}; the scoreboard says what"
        )


def _bar(length: int) -> Any:
    return click.progressbar(
        length=length, label="simulating", file=sys.stderr, item_show_func=lambda says: says or ""
    )


def _plot(scenarios: list[str], arms: list[str], seed: int, path: Path) -> list[Any]:
    """Run the one scenario and write its page; the results."""
    from autoballoon.sim.record import Recorder  # noqa: PLC0415
    from autoballoon.sim.run import rank, simulate, worlds_of  # noqa: PLC0415
    from autoballoon.sim.scenario import load  # noqa: PLC0415
    from autoballoon.views.sim_report import page  # noqa: PLC0415

    if len(scenarios) > 1:
        raise BadInput("--plot draws one scenario; name it instead of all")
    try:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # noqa: PLC0415  (an extra)
    except ImportError:
        raise CouldNot("--plot needs plotly; in a checkout: .venv/bin/pip install '.[report]'") from None
    (name,) = scenarios
    scenario = load(name)
    _check_writable(path)
    results, records = [], []
    with _bar(len(arms)) as bar:
        for arm in arms:
            tried = []
            for world in worlds_of(scenario, arm, seed):
                recorder = Recorder(world, arm)
                tried.append((simulate(name, arm, world, watches=(recorder,)), recorder))
            result, recorder = min(tried, key=lambda one: rank(one[0]))
            results.append(result)
            records.append(recorder.record())
            bar.update(1, arm)
    try:
        path.write_text(page(scenario.says, results, records, get_plotlyjs()), encoding="utf-8")
    except OSError as error:
        raise _not_written(path, error) from None
    return results


def _check_writable(path: Path) -> None:
    """Find out before the time is spent; a file that was not there is not left behind."""
    was_there = path.exists()
    try:
        with path.open("a"):
            pass
        if not was_there:
            path.unlink()
    except OSError as error:
        raise _not_written(path, error) from None


def _not_written(path: Path, error: OSError) -> CouldNot:
    return CouldNot(f"{path}: the page cannot be written ({error.strerror}); give --plot another file")
