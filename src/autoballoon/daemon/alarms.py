"""What the host's kernel can tell of its memory running short. Each alarm causes an early tick, and decides nothing.

All that the host has are set: PSI on every kernel that has it, memory.events of limited groups of cgroup v2, and
memory.pressure_level of cgroup v1.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from autoballoon.core.errors import CouldNot
from autoballoon.guests.hypervisor import Problem, Wake
from autoballoon.host.groupevents import EventsTrigger
from autoballoon.host.memory import HostReader
from autoballoon.host.pressure import PressureTrigger
from autoballoon.host.vmpressure import LevelTrigger

STALL_S, WINDOW_S = 0.15, 2.0
"""Tasks of the host waited so long for memory within the window: swapping has begun. The last alarm, not the first.
Two seconds is the shortest window that the kernel allows without CAP_SYS_RESOURCE; the alarm comes when the stall is
reached, not when the window ends."""


class Trigger(Protocol):
    """Something that calls for early ticks; kept by the triggers of `host`."""

    def start(self) -> None: ...

    def close(self) -> None: ...


class Alarms:
    """Triggers that are set and taken back together."""

    def __init__(self, triggers: Sequence[Trigger] = ()) -> None:
        self._triggers = list(triggers)

    def start(self) -> list[Problem]:
        """Set them; those that the kernel refuses are told, and the others do without them."""
        problems, working = [], []
        for trigger in self._triggers:
            try:
                trigger.start()
            except CouldNot as error:
                problems.append(Problem("host", f"fewer early ticks on memory pressure: {error}"))
            else:
                working.append(trigger)
        self._triggers = working
        return problems

    def close(self) -> None:
        """Take them back."""
        for trigger in self._triggers:
            trigger.close()


def alarms_of(host: HostReader, wake: Wake) -> Alarms:
    """The alarms that this host has."""

    def says(what: str) -> Callable[[str], None]:
        return lambda how: wake(f"{what}: {how}")

    triggers: list[Trigger] = []
    pressure = host.pressure_path()
    if pressure is not None:
        triggers.append(
            PressureTrigger(pressure, STALL_S, WINDOW_S, lambda: wake("memory pressure in the host"))
        )
    groups, version = host.limited_groups()
    for group in groups:
        if version == 1:
            triggers.append(LevelTrigger(group, says("memory pressure in the host")))
        elif (group / "memory.events").exists():
            triggers.append(EventsTrigger(group / "memory.events", says("the guests' group is at its limit")))
    return Alarms(triggers)
