"""One run: all guests of one arm boot, work and are killed again; what came out of it."""

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median

import msgspec

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import MIB
from autoballoon.lab.arms import Arm
from autoballoon.lab.beside import beside
from autoballoon.lab.cache import Say, cache_folder
from autoballoon.lab.controller import Controller, config_text, cost_of
from autoballoon.lab.experiments import Experiment
from autoballoon.lab.followed import Followed, balloons_of
from autoballoon.lab.host import LabHost
from autoballoon.lab.hostload import host_load
from autoballoon.lab.image import GuestImage
from autoballoon.lab.instruments import Instruments
from autoballoon.lab.processors import busy_s, noise
from autoballoon.lab.results import Lines
from autoballoon.lab.spikes import Spikes, waited_of
from autoballoon.lab.vm import BALLOON, Accel, Event, Vm, VmSpec
from autoballoon.lab.writing import full_disk
from autoballoon.views.lab_results import Run, Sample, Told

SPARE = 1024 * MIB
"""Swap beyond what the guests could ever need, so that a full swap file is never what is measured."""
OVERHEAD = 192 * MIB
"""What one QEMU may take beyond its guest's memory, generously (emulation keeps translated code)."""

STALLED = 0.02
"""Stalls that the lab makes are told from this part of a guest's busy time on."""

Watch = Callable[[str, Sequence[Vm], Sample | None], None]
"""Told about progress: what the run as a whole is doing, the guests, the newest sample."""


class Setting(msgspec.Struct, frozen=True):
    """What all runs of one call share."""

    experiment: Experiment
    image: GuestImage
    disks: Mapping[str, Path]
    """What guests have beside the image, by the folder in which they see it."""
    accel: Accel
    policy: str
    """The controller's policy in arms that name none."""
    folder: Path
    """The results folder."""
    say: Say
    watch: Watch


WAVE_MIB = 250
"""What a guest of 512 MiB takes in a phase; others take in proportion to their size."""


def guests_size(experiment: Experiment, arm: Arm) -> int:
    """Bytes that all QEMUs of the arm take at most, when nothing limits them."""
    sizes = (arm.variant.size_mib(number) * MIB for number in range(experiment.guests))
    return sum(sizes) + experiment.guests * OVERHEAD


def swap_size(experiment: Experiment) -> int:
    """Bytes of swap that the guests of any of its arms could need, and some to spare: the same in every arm."""
    lacking = (guests_size(experiment, arm) - (experiment.limit_of(arm) or 0) for arm in limited(experiment))
    return max(0, *lacking) + SPARE


def limited(experiment: Experiment) -> list[Arm]:
    """The arms that have a limit."""
    return [arm for arm in experiment.every_arm if arm.limited]


async def run_once(setting: Setting, arm: Arm, round_: int) -> Run:
    """The arm's run of that round. CouldNot when no guest can be started at all, or the controller cannot."""
    limit = setting.experiment.limit_of(arm)
    async with LabHost(limit=limit, swap=swap_size(setting.experiment), say=setting.say) as host:
        samples, told = Lines(setting.folder / "samples.jsonl"), Lines(setting.folder / "decisions.jsonl")
        eye = Instruments(
            arm=arm.name, round_=round_, run=host.run, group=host.group, limit=limit, sink=samples.add
        )
        lab_cpu, busy = time.process_time(), busy_s()
        controller: Controller | None = None
        followed = Followed()
        async with eye.looking(), contextlib.AsyncExitStack() as stack:
            if arm.controller:
                text = config_text(
                    capacity=f"cgroup:{host.group.path}", run=host.run, policy=arm.policy or setting.policy,
                    overload=arm.overload, side=arm.side, headroom=arm.headroom,
                )  # fmt: skip
                controller = Controller(
                    text=text, run=host.run, keep=setting.folder, label=f"{arm.name}-{round_}",
                    words=() if arm.asks else ("--no-asking",),
                )  # fmt: skip
                await stack.enter_async_context(controller)
                await stack.enter_async_context(
                    beside(_listen(controller, eye, told, arm.name, round_, followed))
                )
            work = _Work(setting, arm, host, eye, followed)
            await work.through()
            wall_s, swapped, stalls = eye.at_s, eye.swapped, host.waker.extra()
            busy, guests_cpu = busy_s() - busy, work.cpu_s()
        if controller is not None and controller.died:
            work.notes.append(controller.died)
    cost = controller.cost if controller else None
    kills, told_kills = ooms_of(vm.heard for vm in work.vms)
    lab_cpu = time.process_time() - lab_cpu
    others = max(0.0, busy - guests_cpu - lab_cpu - (cost.cpu_s if cost else 0.0))
    if said := noise(others, wall_s, os.cpu_count() or 1):
        work.notes.append(said)
    retried_s = [sum(phases) for phases in work.told("retried_s")]
    if said := stalled(fmean(work.busy_s()), stalls["stalled_s"], retried_s):
        work.notes.append(said)
    return Run(
        round=round_,
        wall_s=round(wall_s, 3),
        work_s=work.busy_s(),
        finished=len(work.done()),
        swap_in_pages=swapped.in_pages,
        swap_out_pages=swapped.out_pages,
        guest_oom=kills,
        guests=setting.experiment.guests,
        controller_cpu_s=cost.cpu_s if cost else None,
        controller_rss=cost.rss if cost else None,
        extra={
            "worst_phase_s": max((s for phases in work.phases() for s in phases), default=None),
            "phases_s": work.phases(),
            "parts_s": work.parts(),
            "late_s": work.told("late_s"),
            "retried_s": retried_s,
            **stalls,
            "go_s": round(work.go_s, 3),
            "lab_cpu_s": round(lab_cpu, 2),
            "guests_cpu_s": round(guests_cpu, 2),
            "go_cpu_s": round(work.go_cpu_s, 2),
            "others_cpu_s": round(others, 2),
            **balloons_of([vm.heard for vm in work.vms]),
            **waited_of([vm.heard for vm in work.vms]),
            **followed.extra(),
            **eye.held.extra(work.go_s),
            **(work.spikes.extra() if setting.experiment.spikes else {}),
            **({"host_took": work.host_took} if setting.experiment.hostload else {}),
            "oom_untold": setting.experiment.guests - told_kills,
            "controller_died": controller.died if controller else None,
            "notes": work.notes,
        },
    )


def wave_of(experiment: Experiment, arm: Arm, number: int) -> dict[str, int]:
    """The workload's parameters of the guest of that number."""
    return {
        "anon_mib": WAVE_MIB * arm.variant.size_mib(number) // 512,
        **arm.variant.wave,
        **experiment.wave,
        "period_ms": experiment.period_ms,
        "offset_ms": number * experiment.period_ms // experiment.guests,
    }


def balloon_of(arm: Arm) -> str:
    """The balloon's device line."""
    line = BALLOON if arm.may_deflate else BALLOON.replace("deflate-on-oom=on", "deflate-on-oom=off")
    return line + (",free-page-reporting=on" if arm.reporting else "")


async def _listen(
    controller: Controller, eye: Instruments, told: Lines, arm: str, round_: int, followed: Followed
) -> None:
    async for data in controller.ticks():
        told.add(Told(arm=arm, round=round_, at_s=round(eye.at_s, 3), data=data))
        followed.told(data, eye.at_s)


def in_time(heard: Sequence[Event], until: float) -> list[Event]:
    """What a guest told before the time was up; the controller's end, which is waited for, is no time to work on."""
    return [event for event in heard if event.at <= until]


def phases_of(heard: Sequence[Event], until: float, ended_at: float | None = None) -> list[float]:
    """Busy seconds of each phase that a guest told of until then, and of one that it had not ended: those until then,
    or until its work or its QEMU ended, at least."""
    acts = in_time(heard, until)
    phases = [float(event.data["busy_s"]) for event in acts if event.name == "phase"]
    last = next((event for event in reversed(acts) if event.name in ("begin", "phase")), None)
    if last is not None and last.name == "begin":
        ends = [event.at for event in acts if event.name in ("oom", "failed")]
        end = min([until, *ends, *([] if ended_at is None else [ended_at])])
        phases.append(round(max(0.0, end - last.at - float(last.data["sleeps_s"])), 3))
    return phases


def stalled(time_s: float, stalled_s: float | None, retried_s: Sequence[float]) -> str | None:
    """One sentence where guests that were busy for `time_s` may owe more than a little of it to the lab's own group,
    which has them wait where a host of that size would swap on; else None."""
    group_s, read_s = stalled_s or 0.0, fmean(retried_s) if retried_s else 0.0
    if group_s + read_s <= STALLED * time_s:
        return None
    return (
        f"the guests' group had no memory to give for {group_s:.1f} s after the go, and a guest slept {read_s:.1f} s "
        "on the average before it read again what had failed for want of it; both are part of busy time"
    )


def ooms_of(guests: Iterable[Sequence[Event]]) -> tuple[int, int]:
    """Processes that the guests' own kernels killed for want of memory, and how many guests told of that."""
    counts = ([int(e.data["oom_kills"]) for e in heard if "oom_kills" in e.data][-1:] for heard in guests)
    last = [kills[0] for kills in counts if kills and kills[0] >= 0]
    return sum(last), len(last)


class _Work:
    """The guests of one run, from the first boot to the last one's end."""

    def __init__(
        self, setting: Setting, arm: Arm, host: LabHost, eye: Instruments, followed: Followed
    ) -> None:
        self._setting, self._arm, self._host, self._eye = setting, arm, host, eye
        self._followed = followed
        self._experiment = setting.experiment
        self.spikes = Spikes(eye.size_of, eye.began)
        self._vms: list[Vm] = []
        self.notes: list[str] = []
        self.go_s = math.nan
        self.go_cpu_s = math.nan
        """Processor seconds that all QEMUs had taken at the go."""
        self.host_took: int | None = None
        """Bytes that the host's own process has taken; None until it has all."""
        self._until = math.inf

    async def through(self) -> None:
        """Boot, fill, go, work: until every guest is done or the time is up."""
        async with beside(self._report()), beside(self._watch_sizes()), contextlib.AsyncExitStack() as stack:
            if self._experiment.guest_swap_of(self._arm):
                await stack.enter_async_context(beside(full_disk(self._host.scratch.parent)))
            await self._boot()
            if self._experiment.spikes:
                for vm in self._vms:
                    await stack.enter_async_context(beside(self.spikes.follow(vm)))
            await self._each(
                self._experiment.fill_limit_s - self._eye.at_s,
                "filled",
                f"was not ready for the go within {self._experiment.fill_limit_s:.0f} s",
            )
            # An agent that is not up yet would only slow its guest down.
            if self._arm.side and (silent := await self._followed.silent([vm.name for vm in self._vms])):
                self.notes.append(f"no agent was heard of {', '.join(silent)} before the go")
            self.go_s, self.go_cpu_s = self._eye.at_s, self.cpu_s()
            self._host.waker.begin()
            for vm in self._vms:
                vm.send("go")
            squeeze = self._arm.squeeze_mib
            if squeeze is not None:
                self._followed.asked({vm.name: squeeze * MIB for vm in self._vms}, self._eye.at_s)
                await self._eye.squeeze(squeeze * MIB)
            procs = self._host.group.procs
            async with host_load(self._experiment.hostload, procs, self._host_takes, self.notes.append):
                await self._each(
                    self._experiment.patience_s,
                    "done",
                    f"did not finish within {self._experiment.patience_s:.0f} s",
                )
            self._until = time.monotonic()

    async def _boot(self) -> None:
        await asyncio.gather(*(self._boot_one(number) for number in range(self._experiment.guests)))
        if not self._vms:
            raise CouldNot(
                f"no guest could be booted: {self.notes[0]}; where that does not explain it, remove {cache_folder()}, "
                "from which they boot: it is made again"
            )
        self._vms.sort(key=lambda vm: vm.name)

    async def _boot_one(self, number: int) -> None:
        try:
            self._vms.append(await self._host.start_vm(self._spec(number)))
        except CouldNot as error:
            self.notes.append(f"guest {number} did not boot: {error}")

    def _spec(self, number: int) -> VmSpec:
        return VmSpec(
            name=f"guest-{number}",
            image=self._setting.image,
            accel=self._setting.accel,
            memory_mib=self._arm.variant.size_mib(number),
            swap_mib=self._experiment.guest_swap_of(self._arm),
            disks=self._setting.disks,
            workload=self._experiment.workload_of(self._arm),
            driver=self._arm.driver,
            params=wave_of(self._experiment, self._arm, number),
            balloon=balloon_of(self._arm),
            port=self._experiment.sides,
            side=self._arm.side,
        )

    async def _each(self, within_s: float, event: str, otherwise: str) -> None:
        """Wait until each guest has told of the event, was killed, or the time is up."""

        async def one(vm: Vm) -> None:
            if any(heard.name in (event, "oom", "failed") for heard in vm.heard):
                return
            try:
                told = await vm.expect(event, "oom", "failed", timeout=max(within_s, 0.0))
                if told.name == "failed":
                    self.notes.append(f"{vm.name} gave up: {told.data.get('what')}")
            except CouldNot as error:
                self.notes.append(f"{vm.name} {otherwise}" + ("" if vm.is_alive else f": {error}"))

        await asyncio.gather(*(one(vm) for vm in self._vms))

    async def _report(self) -> None:
        while True:
            self._setting.watch(self._arm.name, self._vms, self._eye.last)
            await asyncio.sleep(0.5)

    async def _watch_sizes(self) -> None:
        while True:
            if self._eye.last is not None:
                guests = self._eye.last.snapshot.guests
                self._followed.seen({guest.name: guest.actual for guest in guests}, self._eye.last.at_s)
            await asyncio.sleep(0.5)

    def _host_takes(self, size: int) -> None:
        self.host_took = size

    @property
    def vms(self) -> list[Vm]:
        """Every guest that was booted."""
        return self._vms

    def done(self) -> list[Vm]:
        """The guests that finished their work."""
        return [
            vm for vm in self._vms if any(event.name == "done" for event in in_time(vm.heard, self._until))
        ]

    def phases(self) -> list[list[float]]:
        """Busy seconds, phase by phase, of each guest."""
        return [phases_of(vm.heard, self._until, vm.ended_at) for vm in self._vms]

    def told(self, name: str) -> list[list[float]]:
        """What each guest told under that name of the phases that it ended in time, phase by phase."""
        return [
            [e.data[name] for e in in_time(vm.heard, self._until) if e.name == "phase" and name in e.data]
            for vm in self._vms
        ]

    def parts(self) -> dict[str, float | None]:
        """What a phase of wave was busy with: seconds taking memory, working on it, reading the file again; medians."""
        phases = [e.data for vm in self._vms for e in vm.heard if e.name == "phase" and "take_s" in e.data]
        names = ("take_s", "work_s", "reread_s")
        return {name: median(float(p[name]) for p in phases) if phases else None for name in names}

    def busy_s(self) -> list[float]:
        """Busy seconds of each guest."""
        return [round(sum(phases), 3) for phases in self.phases()]

    def cpu_s(self) -> float:
        """Processor seconds of all QEMUs so far, booting and emulation and all; of those that have ended, none."""
        return sum(cost.cpu_s for vm in self._vms if (cost := cost_of(vm.pid)))
