"""What a lab measured, as values: the JSON of `results.json`, version 1.

Bytes and seconds; swap in pages of 4 KiB as the kernel counts them. Fields are only ever added.
"""

from collections.abc import Iterator
from statistics import fmean
from typing import Any

import msgspec

from autoballoon.core.model import Snapshot


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured."""

    cores: int
    ram: int
    accel: str
    """"kvm" or "tcg"."""
    kernel: str
    qemu: str
    cgroup: str
    """"v1" or "v2": which memory controller limits the guests."""


class Run(msgspec.Struct, frozen=True):
    """One arm in one round: all guests booted, worked and were killed again."""

    round: int
    """From 1; runs of different arms with the same round were made next to each other in time."""
    wall_s: float
    """From the first boot until the last guest was done, or until the time was up."""
    work_s: list[float]
    """Busy seconds of each guest; of one that did not finish, what it was busy for until then, at least."""
    finished: int
    swap_in_pages: int
    swap_out_pages: int
    guest_oom: int
    guests: int
    controller_cpu_s: float | None = None
    controller_rss: int | None = None
    """Peak, bytes."""
    noisy: bool = False
    extra: dict[str, Any] = {}

    @property
    def time_s(self) -> float | None:
        """Mean busy seconds of a guest: the column TIME. A lower bound when a guest did not finish."""
        return fmean(self.work_s) if self.work_s else None

    @property
    def after_go_s(self) -> float | None:
        """Wall seconds from the go until the last guest was done."""
        go_s = self.extra.get("go_s")
        return None if go_s is None else self.wall_s - go_s

    @property
    def is_complete(self) -> bool:
        """Whether every guest finished its work."""
        return self.finished == self.guests

    @property
    def worst_phase_s(self) -> float | None:
        """Busy seconds of the longest phase of any guest."""
        return self.extra.get("worst_phase_s")


class ArmResult(msgspec.Struct, frozen=True):
    """All runs of one arm."""

    name: str
    policy: str | None
    """The controller's policy; None where no controller ran."""
    limit: int | None
    """Bytes that all guests together may hold; None where no limit mattered."""
    runs: list[Run]

    @property
    def short(self) -> str:
        """Its name without the variant's: ladder of ladder@fast."""
        return self.name.partition("@")[0]

    @property
    def variant(self) -> str:
        """The variant that it belongs to; empty where an experiment has none."""
        return self.name.partition("@")[2]

    @property
    def counted(self) -> list[Run]:
        """The runs that count: without the noisy ones, unless there are only noisy ones."""
        return [run for run in self.runs if not run.noisy] or self.runs


class Results(msgspec.Struct, frozen=True):
    """One call of `lab run`."""

    experiment: str
    machine: Machine
    command: str
    arms: list[ArmResult]
    v: int = 1
    differs: list[str] = []
    """Flags by which the controller's policy or the guests' load was not the usual: "--period 20"."""

    @property
    def variants(self) -> list[str]:
        """The names of all variants, in the table's order; one without a name where there are none."""
        return list(dict.fromkeys(arm.variant for arm in self.arms if arm.variant)) or [""]

    def within(self, variant: str, short: str) -> str:
        """The name of that arm in that variant; of the one that all variants share, where there is no other."""
        name = f"{short}@{variant}" if variant else short
        return name if self.arm(name) else short

    def arm(self, name: str) -> ArmResult | None:
        """The arm of that name, when it was run at all."""
        return next((arm for arm in self.arms if arm.name == name and arm.runs), None)

    def pairs(self, name: str, other: str) -> Iterator[tuple[Run, Run]]:
        """Runs of two arms from the same round, side by side."""
        one, two = self.arm(name), self.arm(other)
        if one is None or two is None:
            return
        by_round = {run.round: run for run in two.counted}
        for run in one.counted:
            if run.round in by_round:
                yield run, by_round[run.round]


class Sample(msgspec.Struct, frozen=True):
    """What the instruments saw at one moment: a line of `samples.jsonl`."""

    arm: str
    round: int
    at_s: float
    """Seconds since the run's first boot."""
    usage: int
    """Bytes charged to the guests' group, file cache and all."""
    limit: int | None
    swap_in_pages: int
    """Since the run began, as is `swap_out_pages`."""
    swap_out_pages: int
    snapshot: Snapshot


class Told(msgspec.Struct, frozen=True):
    """What the controller told at one tick: a line of `decisions.jsonl`."""

    arm: str
    round: int
    at_s: float
    data: dict[str, Any]
    """As `status --json` prints it."""
