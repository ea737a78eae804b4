"""The lab's host: one context that makes the group, the swap file and the run folder, and removes them."""

import asyncio
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import size_text
from autoballoon.lab import tidy
from autoballoon.lab.cache import Say, cache_folder
from autoballoon.lab.endings import ended_by_signals, put_off
from autoballoon.lab.group import Group, Waker
from autoballoon.lab.swap import SwapFile
from autoballoon.lab.vm import Vm, VmSpec
from autoballoon.lab.writing import RUN, writing


class LabHost:
    """`async with LabHost(limit=..., swap=..., say=print) as host: vm = await host.start_vm(spec)`.

    Entering first removes what a dead lab left. Leaving, however it comes (end, error, Ctrl-C, SIGTERM), kills the
    guests and removes all that was made. SIGTERM and SIGHUP cancel the task that entered, as Ctrl-C does.
    """

    def __init__(self, *, limit: int | None, swap: int, say: Say) -> None:
        """`limit`: bytes the group may hold, None for none; `swap`: bytes of the swap file, 0 for none."""
        self._limit, self._swap, self._say = limit, swap, say
        self._vms: list[Vm] = []

    async def __aenter__(self) -> "LabHost":
        for sentence in tidy.sweep():
            self._say(sentence)
        self._note = tidy.begin(cache_folder())
        self.group = Group(self._note.group)
        """The control group of the guests; its limit is the host's size."""
        self.run = Path(self._note.run)
        """The run folder; the sockets are run/ctl/NAME.qmp and run/eye/NAME.qmp."""
        self.scratch = Path(self._note.scratch)
        """The folder of the guests' own disks; there when one of them has any."""
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        self._heeding = ended_by_signals()
        self._heeding.__enter__()
        self.waker = Waker(self.group)
        """Keeps guests from waiting for memory in vain, and counts how often they did."""
        self._waking = asyncio.create_task(self.waker.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        # First all that needs no waiting for the event loop.
        self._waking.cancel()
        try:
            self._remove()
        finally:
            self._heeding.__exit__(None, None, None)
        await asyncio.gather(*(vm.kill() for vm in self._vms))

    async def start_vm(self, spec: VmSpec, timeout: float = 60.0) -> Vm:  # noqa: ASYNC109
        """Boot a guest in the group until it is ready; one retry, then CouldNot."""
        for last in (False, True):
            vm = await Vm.start(spec, self.run, self.group.procs, self.scratch)
            self._vms.append(vm)
            try:
                await vm.expect("ready", timeout=timeout)
            except CouldNot as trouble:
                await vm.kill()
                if last:
                    raise
                self._say(f"{trouble}; starting it once more")
            else:
                break
        return vm

    def _remove(self) -> None:
        """All of it, whatever signals come meanwhile: swap that stays on would be nobody's."""
        with put_off(self._say):
            if said := self._note.remove_all():
                self._say("; ".join(said))

    def _make(self) -> None:
        with writing(self.run, RUN):
            self.run.mkdir()
        self.group.make()
        self.group.limit(self._limit)
        made = f"made the memory group {self.group.path}"
        if self._limit is not None:
            made += f" of {size_text(self._limit)}"
        if self._swap:
            swap = SwapFile(Path(self._note.swap))
            swap.make(self._swap)
            made += f" and the swap file {swap.path} of {size_text(self._swap)}"
        self._say(made)
