"""What happened in a run, sample by sample, for a picture of it."""

from collections.abc import Sequence

import msgspec

from autoballoon.core.model import Decision, Guest, Host, SetTarget, Snapshot
from autoballoon.core.units import PAGE
from autoballoon.sim.keeper import Daemon
from autoballoon.sim.world import World
from autoballoon.views.lab_results import Sample, Told
from autoballoon.views.sim_report import Record
from autoballoon.views.status import tell

SAMPLES = 600
"""Of one run, evenly over its time."""


class Recorder:
    """Call it after each step of one world; `record` at the end."""

    def __init__(self, world: World, policy: str) -> None:
        self._policy = policy
        self._every = float(world.scenario.duration) / SAMPLES
        self._next = 0.0
        self._samples: list[Sample] = []
        self._told: list[Told] = []
        self._wants: dict[str, list[tuple[float, int]]] = {guest.name: [] for guest in world.guests}
        self._targets: dict[str, int] = {}
        if isinstance(world.keeper, Daemon):
            world.keeper.told.append(lambda *step: self._hear(step[3], step[4]))

    def __call__(self, world: World) -> None:
        if not isinstance(world.keeper, Daemon):
            self._see_targets(world)
        if world.now + 1e-9 < self._next:
            return
        self._next += self._every
        guests = []
        for guest in world.there:
            report = guest.report()
            self._wants[guest.name].append((world.now, int(guest.used)))
            guests.append(
                Guest(
                    key=guest.name, name=guest.name, max=guest.max, actual=int(guest.actual), driver=guest.driver,
                    running=guest.running, deflates_itself=guest.group.deflates_itself, total=report.total,
                    available=report.available, free=report.free, caches=report.caches,
                    resident=max(0, int(guest.resident)), swapped=int(guest.pages.swapped),
                )
            )  # fmt: skip
        host = world.host
        self._samples.append(
            Sample(
                arm=self._policy, round=1, at_s=world.now, usage=int(host.ram - host.free), limit=host.ram,
                swap_in_pages=int(host.swap_in) // PAGE, swap_out_pages=int(host.swap_out) // PAGE,
                snapshot=Snapshot(Host(capacity=host.ram, available=max(0, int(host.free))), tuple(guests)),
            )
        )  # fmt: skip

    def record(self) -> Record:
        """All that was seen."""
        return Record(self._policy, tuple(self._samples), tuple(self._told), self._wants)

    def _hear(self, decisions: Sequence[Decision], now: float) -> None:
        moves = [decision for decision in decisions if isinstance(decision, SetTarget)]
        if moves:
            data = {"decisions": msgspec.to_builtins(tell(moves))}
            self._told.append(Told(arm=self._policy, round=1, at_s=now, data=data))

    def _see_targets(self, world: World) -> None:
        """The oracle tells nothing, so look."""
        moved = []
        for guest in world.there:
            before = self._targets.get(guest.name, int(guest.actual))
            if guest.target != before:
                moved.append({"guest": guest.name, "kind": "set-target", "to": guest.target, "says": ""})
            self._targets[guest.name] = guest.target
        if moved:
            self._told.append(Told(arm=self._policy, round=1, at_s=world.now, data={"decisions": moved}))
