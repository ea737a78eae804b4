"""Sensing: one Snapshot from the host, the hypervisors and the operator's bounds.

Knows no loop and no policy, so that the lab's instruments see exactly what the daemon sees.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import msgspec

from autoballoon.core.model import Guest, Host, Snapshot, told_apart
from autoballoon.core.units import size_text
from autoballoon.daemon.bounds import Bounds
from autoballoon.guests.agent import Agents
from autoballoon.guests.hypervisor import Hypervisor, Problem
from autoballoon.host.huge import Splits

BUSY = 1 / 6
"""Part of one processor: an idle guest under emulation takes 2 to 5 %, one that takes 150 MiB/s over 30 %."""


class HostSense(Protocol):
    """What is read of the host; kept by host.memory.HostReader."""

    def read(self) -> Host: ...

    def free_now(self) -> int: ...

    def close(self) -> None: ...


class HeldMemory(Protocol):
    """What the host holds for one guest, bytes; kept by host.process.ProcessMemory."""

    @property
    def resident(self) -> int: ...
    @property
    def huge(self) -> int: ...
    @property
    def swapped(self) -> int: ...
    @property
    def overhead(self) -> int | None: ...


class ProcessSense(Protocol):
    """The host's view of a QEMU process; kept by host.process.ProcessReader."""

    def read(self, pid: int, ram: int) -> HeldMemory | None: ...

    def cpu_s(self, pid: int) -> float | None: ...

    def age_s(self, pid: int) -> float | None: ...

    def identity(self, pid: int) -> str | None: ...

    async def split_holed(self, pid: int) -> Splits | None: ...


class Senses:
    """Everything that is looked at in a tick."""

    def __init__(
        self,
        host: HostSense,
        processes: ProcessSense,
        hypervisors: Sequence[Hypervisor],
        bounds: Callable[[str], Bounds],
        agents: Agents | None = None,
    ) -> None:
        self.host = host
        self.agents = agents or Agents()
        self.hypervisors = tuple(hypervisors)
        self._processes = processes
        self._bounds = bounds
        self._owner: dict[str, Hypervisor] = {}
        self._pids: dict[str, int] = {}
        self._cpu: dict[str, tuple[float, float]] = {}
        """When a guest's processors were last looked at, and the seconds they had had."""
        self._problems: list[Problem] = []

    async def snapshot(self) -> Snapshot:
        """What is known now. OSError when the host itself cannot be read; no guest can make it fail."""
        return Snapshot(host=self.host.read(), guests=tuple(await self.guests()))

    async def guests(self, only: frozenset[str] | None = None) -> list[Guest]:
        """Every guest (or those whose key is in `only`) with the host's view and the operator's bounds.

        One verified process is one guest: of two hypervisors that show it the first has it.
        """
        found: dict[str, Guest] = {}
        problems: list[Problem] = []
        shown: dict[int, Hypervisor] = {}
        for hypervisor in self.hypervisors:
            for guest in await hypervisor.read():
                if guest.pid is not None and shown.setdefault(guest.pid, hypervisor) is not hypervisor:
                    continue
                self._owner[guest.key] = hypervisor
                if only is None or guest.key in only:
                    found[guest.key] = self._complete(guest, problems)
        if only is None:
            channels = {k: v for one in self.hypervisors for k, v in one.channels().items()}
            self.agents.meet(list(found.values()), channels)
            self._problems = problems
            self._owner = {key: self._owner[key] for key in found}
            self._pids = {key: guest.pid for key, guest in found.items() if guest.pid is not None}
            self._cpu = {key: seen for key, seen in self._cpu.items() if key in self._pids}
        return told_apart([self.agents.fill(guest) for guest in found.values()])

    def _complete(self, guest: Guest, problems: list[Problem]) -> Guest:
        bounds = self._bounds(guest.name)
        floor, ceiling, fits = bounds.within(guest.max, guest.ceiling)
        if not fits:
            says = (
                f"{guest.name}: its floor was above its ceiling of {size_text(ceiling)} and is taken as that"
            )
            problems.append(Problem(where=guest.key, says=says))
        held = None if guest.pid is None else self._processes.read(guest.pid, guest.max)
        return msgspec.structs.replace(
            guest,
            floor=floor,
            ceiling=ceiling,
            headroom=bounds.headroom.of(guest.max),
            shares=bounds.shares,
            managed=guest.managed and bounds.manage,
            may_suspend=bounds.may_suspend,
            resident=None if held is None else held.resident,
            huge=None if held is None else held.huge,
            swapped=None if held is None else held.swapped,
            overhead=None if held is None else held.overhead,
        )

    async def as_told(self, key: str) -> Guest | None:
        """One guest as its hypervisor tells of it now, without the host's view and the operator's bounds."""
        owner = self._owner.get(key)
        return None if owner is None else await owner.read_one(key)

    async def ask(self, keys: frozenset[str]) -> None:
        """Have fresh statistics taken from these guests at once; the wait is bounded by the hypervisors."""
        owners = {self._owner[key] for key in keys if key in self._owner}
        if len(owners) == 1:  # a task for each costs more than the asking
            await owners.pop().ask(keys)
        elif owners:
            await asyncio.gather(
                *(one.ask(frozenset(k for k in keys if self._owner.get(k) is one)) for one in owners)
            )

    def relax(self, keys: Collection[str]) -> None:
        """These guests, and no others, may be looked at less often from now on."""
        for hypervisor in self.hypervisors:
            hypervisor.relax(keys)

    def busy(self, keys: frozenset[str], now: float) -> frozenset[str]:
        """Those of the guests whose processors ran a sixth of the time or more since the last call.

        A guest that grows writes memory, which takes time of its processors: an idle one need not be asked. It costs
        one small file instead of a round of commands. A guest without a verified process counts as busy.
        """
        busy = set()
        for key in keys:
            ran_s = self._processes.cpu_s(self._pids[key]) if key in self._pids else None
            if ran_s is None:
                busy.add(key)
                continue
            then, had_s = self._cpu.get(key, (now, ran_s))
            self._cpu[key] = (now, ran_s)
            if ran_s - had_s > (now - then) * BUSY:
                busy.add(key)
        return frozenset(busy)

    def owner(self, key: str) -> Hypervisor | None:
        """The hypervisor that the guest was last read from; None when it is gone."""
        return self._owner.get(key)

    def problems(self) -> list[Problem]:
        """What keeps guests from being seen or balanced, as of the last snapshot."""
        theirs = (one for hypervisor in self.hypervisors for one in hypervisor.problems())
        return [*self._problems, *theirs, *self.agents.problems()]
