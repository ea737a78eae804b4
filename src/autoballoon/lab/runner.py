"""One call of `lab run`: every round, every arm, and what is written down about them."""

import datetime
import functools
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from autoballoon.core.units import MIB
from autoballoon.lab import results as kept
from autoballoon.lab import tidy
from autoballoon.lab.accel import Wanted, choose_accel, translating
from autoballoon.lab.arms import Arm
from autoballoon.lab.commands import run as run_tool
from autoballoon.lab.driver import build_driver
from autoballoon.lab.endings import ended_at_once, ended_by_signals
from autoballoon.lab.experiments import Experiment, with_guests
from autoballoon.lab.group import Group
from autoballoon.lab.image import GuestImage, build_image
from autoballoon.lab.preflight import must_limit, must_swap, preflight, total_memory
from autoballoon.lab.progress import Progress
from autoballoon.lab.run import Setting, guests_size, run_once, swap_size
from autoballoon.lab.userland import COMPILER, SIDES, agent_source, build_userland
from autoballoon.lab.vm import Accel
from autoballoon.views.lab_results import ArmResult, Machine, Results, Run
from autoballoon.views.lab_table import controller_line

NOISY_PAGES = 1000
"""A run without a limit that swaps more than this tells of the machine, not of the guests."""


class Wish(msgspec.Struct, frozen=True):
    """What the caller asked for."""

    experiment: Experiment
    arms: tuple[Arm, ...]
    rounds: int
    policy: str
    """Of the controller, in arms that name none."""
    accel: Wanted
    beside: bool
    out: Path
    command: str
    differs: tuple[str, ...] = ()
    """Flags by which the policy or the guests' load is not the usual."""


async def run_experiment(wish: Wish, progress: Progress) -> tuple[Results, Path]:
    """The results and their folder. CouldNot when the machine does not allow it; then nothing is left behind.

    When it is interrupted, the runs that were finished stay in the folder.
    """
    for sentence in tidy.sweep():
        progress.say(sentence)
    most_swap = max(wish.experiment.guest_swap_of(arm) for arm in wish.arms)
    room = preflight(
        guests=wish.experiment.guests,
        guest_size=max(guests_size(wish.experiment, arm) for arm in wish.arms) // wish.experiment.guests,
        swap=swap_size(wish.experiment) + wish.experiment.guests * most_swap * MIB,
        beside=wish.beside,
    )
    if room.says:
        progress.say(room.says)
    wish = with_room(wish, room.guests)
    experiment = wish.experiment
    must_limit(max(experiment.limit_of(arm) or 0 for arm in wish.arms), total_memory())
    with ended_at_once():
        must_swap()
    progress.guests = experiment.guests
    folder = kept.new_folder(wish.out, experiment.name, datetime.datetime.now(tz=datetime.UTC).date())
    runs: dict[str, list[Run]] = {arm.name: [] for arm in wish.arms}
    try:
        with ended_by_signals():
            return await _rounds(wish, runs, room.says, folder, progress)
    finally:
        if not any(runs.values()):
            kept.discard(folder)


async def _rounds(
    wish: Wish, runs: dict[str, list[Run]], room: str | None, folder: Path, progress: Progress
) -> tuple[Results, Path]:
    """Every round of every arm; what is done is in `runs` and in the folder after each."""
    setting = await _setting(wish, folder, progress)
    results = _results(wish, setting, runs)
    for round_ in range(1, wish.rounds + 1):
        for arm in in_turn(wish.arms, round_):
            runs[arm.name] += await repeated_when_noisy(
                arm, functools.partial(_told_run, setting, arm, round_, room)
            )
            results = _results(wish, setting, runs)
            kept.write(folder, results)
    return results, folder


def in_turn(arms: tuple[Arm, ...], round_: int) -> tuple[Arm, ...]:
    """The arms as they are run in a round, the first of which is 1: every other one backwards.

    A machine that grows slower (heat, neighbours, a cache that fills) would else always count against the same arms.
    """
    return arms if round_ % 2 else arms[::-1]


async def _setting(wish: Wish, folder: Path, progress: Progress) -> Setting:
    """What guests boot from, made where it is not in the cache, and how they run."""
    experiment, began = wish.experiment, time.monotonic()
    with ended_at_once():
        image = build_image(
            progress.say,
            build_driver(progress.say) if any(arm.driver for arm in wish.arms) else None,
            agent_source() if experiment.sides else None,
        )
        builds = any(experiment.workload_of(arm) == "build" for arm in wish.arms)
        recipe = COMPILER if builds else SIDES if experiment.sides else None
        disks = {} if recipe is None else {"/userland": build_userland(recipe, progress.say)}
    accel = await choose_accel(wish.accel, image, progress.say)
    progress.say(f"{accel.why}; set-up of the guests took {time.monotonic() - began:.0f} s")
    return Setting(
        experiment=experiment, image=image, disks=disks, accel=translating(accel, experiment.translated_mib),
        policy=wish.policy, folder=folder, say=progress.say, watch=progress.watch,
    )  # fmt: skip


def with_room(wish: Wish, guests: int) -> Wish:
    """The same wish with so many guests."""
    experiment = with_guests(wish.experiment, guests)
    names = {arm.name for arm in wish.arms}
    arms = tuple(arm for arm in experiment.every_arm if arm.name in names)
    return msgspec.structs.replace(wish, experiment=experiment, arms=arms)


async def repeated_when_noisy(arm: Arm, once: Callable[[], Awaitable[Run]]) -> list[Run]:
    """The arm's runs of one round: one, or two when the first was a yardstick that swapped, which marks it noisy."""
    done: list[Run] = []
    while len(done) < 2:
        run = await once()
        noisy = not arm.limited and run.swap_in_pages + run.swap_out_pages > NOISY_PAGES
        done.append(msgspec.structs.replace(run, noisy=noisy))
        if not noisy:
            break
    return done


async def _told_run(setting: Setting, arm: Arm, round_: int, room: str | None) -> Run:
    run = await run_once(setting, arm, round_)
    if room:
        run.extra["notes"].insert(0, room)
    setting.say(_summary(arm, run))
    return run


def _summary(arm: Arm, run: Run) -> str:
    time_s = "no time" if run.time_s is None else f"{run.time_s:.2f} s busy"
    said = [
        f"{arm.name}, round {run.round}: {time_s}, {run.finished} of {run.guests} finished in {run.wall_s:.0f} s, "
        f"swapped in {run.swap_in_pages:,} and out {run.swap_out_pages:,} pages, {run.guest_oom} OOM kills"
    ]
    return "\n".join([*said, *([f"  {line}"] if (line := controller_line(run)) else [])])


def _results(wish: Wish, setting: Setting, runs: dict[str, list[Run]]) -> Results:
    return Results(
        experiment=setting.experiment.name,
        machine=machine(setting.image, setting.accel),
        command=wish.command,
        differs=list(wish.differs),
        arms=[
            ArmResult(
                name=arm.name,
                policy=(arm.policy or wish.policy) if arm.controller else None,
                limit=setting.experiment.limit_of(arm),
                runs=list(runs[arm.name]),
            )
            for arm in wish.arms
        ],
    )


def machine(image: GuestImage, accel: Accel, root: Path = Path("/")) -> Machine:
    """What this machine is, as far as it matters to the numbers."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        ram=total_memory(root),
        accel=accel.name,
        kernel=image.kernel_version,
        qemu=run_tool(["qemu-system-x86_64", "--version"]).splitlines()[0].strip(),
        cgroup=f"v{Group('autoballoon-lab').version}",
    )
