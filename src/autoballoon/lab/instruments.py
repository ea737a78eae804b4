"""The lab's instruments: what the host and every guest hold, once a second, whatever the arm.

They look through the guests' second QMP socket and never steer. What they cost is counted as `lab_cpu_s`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from statistics import fmean
from typing import Self

import msgspec

from autoballoon.daemon.bounds import Bounds
from autoballoon.daemon.sense import Senses
from autoballoon.guests.hypervisor import sleep_on
from autoballoon.guests.qmp import QmpHypervisor
from autoballoon.host.files import fields
from autoballoon.host.find import qemu_behind
from autoballoon.host.machine import SWAPPED_IN, SWAPPED_OUT
from autoballoon.host.memory import HostReader
from autoballoon.host.process import ProcessReader
from autoballoon.lab.beside import beside
from autoballoon.lab.group import Group
from autoballoon.lab.vm import Vm
from autoballoon.views.lab_results import Sample


class SwapCounters(msgspec.Struct, frozen=True):
    """Pages the host swapped since it booted, as /proc/vmstat counts them."""

    in_pages: int
    out_pages: int

    @classmethod
    def read(cls, root: Path = Path("/")) -> Self:
        """The counters now; a counter that the kernel does not have is 0."""
        count = fields((root / "proc/vmstat").read_bytes())
        return cls(
            in_pages=sum(count.get(name, 0) for name in SWAPPED_IN),
            out_pages=sum(count.get(name, 0) for name in SWAPPED_OUT),
        )

    def since(self, before: "SwapCounters") -> "SwapCounters":
        """What was swapped between the two."""
        return SwapCounters(self.in_pages - before.in_pages, self.out_pages - before.out_pages)


class Held:
    """What all guests together held of the host's memory, their QEMUs' own with it, as far as it was seen."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def see(self, sample: Sample) -> None:
        """One look; it tells nothing where the host does not see every guest."""
        guests = [(guest.resident, guest.overhead) for guest in sample.snapshot.guests]
        known = [
            resident + overhead
            for resident, overhead in guests
            if resident is not None and overhead is not None
        ]
        if known and len(known) == len(guests):
            self._seen.append((sample.at_s, sum(known)))

    def extra(self, go_s: float) -> dict[str, int | None]:
        """For Run.extra, bytes: the most, and the mean from the go on; null where nothing was seen."""
        later = [held for at_s, held in self._seen if at_s >= go_s]
        return {
            "held_peak": max((held for _, held in self._seen), default=None),
            "held_mean": round(fmean(later)) if later else None,
        }


class Instruments:
    """One Sample per second goes to `sink` inside `looking()`; time and swap count from when this is made."""

    def __init__(
        self, *, arm: str, round_: int, run: Path, group: Group, limit: int | None,
        sink: Callable[[Sample], None], every_s: float = 1.0,
    ) -> None:  # fmt: skip
        self._arm, self._round, self._limit = arm, round_, limit
        self._group, self._sink, self._every_s = group, sink, every_s
        processes = ProcessReader()
        self._eye = QmpHypervisor([str(run / "eye" / "*.qmp")], verify=qemu_behind, age_s=processes.age_s)
        # Without a limit the group has no capacity of its own: the host's is what counts.
        host = HostReader("auto" if limit is None else f"cgroup:{group.path}")
        self._senses = Senses(host, processes, [self._eye], lambda _: Bounds())
        self.began = time.monotonic()
        self.before = SwapCounters.read()
        self.last: Sample | None = None
        self.held = Held()

    @property
    def swapped(self) -> SwapCounters:
        """What the host swapped since the instruments were switched on."""
        return SwapCounters.read().since(self.before)

    @property
    def at_s(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self.began

    async def squeeze(self, size: int) -> None:
        """Ask every guest to become `size` bytes large, as an operator would by hand."""
        for guest in await self._eye.read():
            await self._eye.set_target(guest.key, size)

    async def size_of(self, vm: Vm) -> int | None:
        """The guest's size, bytes, asked of QEMU now; None when it does not answer."""
        return await self._eye.size_now(str(vm.eye))

    @contextlib.asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look as long as the block runs; what keeps them from it (CouldNot: a full disk) ends the block."""
        await self._eye.start(sleep_on)
        try:
            async with beside(self._look()):
                yield
        finally:
            await self._eye.close()

    async def _look(self) -> None:
        due = time.monotonic()
        while True:
            swapped = self.swapped
            self.last = Sample(
                arm=self._arm,
                round=self._round,
                at_s=round(self.at_s, 3),
                usage=self._group.usage(),
                limit=self._limit,
                swap_in_pages=swapped.in_pages,
                swap_out_pages=swapped.out_pages,
                snapshot=await self._senses.snapshot(),
            )
            self.held.see(self.last)
            self._sink(self.last)
            due = max(due + self._every_s, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
