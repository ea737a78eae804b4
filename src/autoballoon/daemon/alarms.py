"""What the host's kernel can tell of its memory running short. Each alarm causes an early tick, and decides nothing.

All that the host has are set: PSI on every kernel that has it, the memory events of limited groups of cgroup v2, and
memory.pressure_level of cgroup v1.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from autoballoon.core.errors import CouldNot
from autoballoon.guests.hypervisor import Problem, Wake
from autoballoon.host.groupevents import EventsTrigger, events_file
from autoballoon.host.memory import HostReader
from autoballoon.host.pressure import PressureTrigger
from autoballoon.host.vmpressure import LevelTrigger

STALL_S, WINDOW_S = 0.15, 2.0
"""Tasks of the host waited so long for memory within the window: swapping has begun. The last alarm, not the first.
Two seconds is the shortest window that the kernel allows without CAP_SYS_RESOURCE; the alarm comes when the stall is
reached, not when the window ends."""
LOOK_EVERY_S = 5.0
"""So often it is seen whether what is listened to is still there: the kernel tells nobody that a group is gone."""


class Trigger(Protocol):
    """Something that calls for early ticks; kept by the triggers of `host`."""

    @property
    def is_current(self) -> bool: ...

    def start(self) -> None: ...

    def close(self) -> None: ...


class Alarms:
    """Triggers that are set and taken back together.

    One whose group is removed and made again, as systemd does with slices, is set again on the new one.
    """

    def __init__(self, triggers: Sequence[Trigger] = ()) -> None:
        self._triggers = list(triggers)
        self._lost: dict[Trigger, str] = {}
        """Those whose group is gone, and why they cannot be set."""
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> list[Problem]:
        """Set them; those that the kernel refuses are told, and the others do without them."""
        problems, working = [], []
        for trigger in self._triggers:
            try:
                trigger.start()
            except CouldNot as error:
                problems.append(_fewer(str(error)))
            else:
                working.append(trigger)
        self._triggers = working
        if working:
            self._looking = asyncio.create_task(self._look_again_and_again())
        return problems

    def problems(self) -> list[Problem]:
        """What is not listened to now, though it was."""
        return [_fewer(says) for says in self._lost.values()]

    def close(self) -> None:
        """Take them back."""
        if self._looking is not None:
            self._looking.cancel()
        for trigger in self._triggers:
            trigger.close()

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for trigger in self._triggers:
                if not trigger.is_current:
                    self._set_again(trigger)

    def _set_again(self, trigger: Trigger) -> None:
        trigger.close()
        try:
            trigger.start()
        except CouldNot as error:
            self._lost[trigger] = str(error)
        else:
            self._lost.pop(trigger, None)


def _fewer(why: str) -> Problem:
    return Problem("host", f"fewer early ticks on memory pressure: {why}")


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
        elif (events := events_file(group)) is not None:
            triggers.append(EventsTrigger(events, says("the guests' group is at its limit")))
    return Alarms(triggers)
