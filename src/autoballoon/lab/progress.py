"""What a lab run says while it runs, on stderr: one line that is kept up to date, or a line each five seconds."""

import time
from collections.abc import Sequence
from typing import TextIO

from autoballoon.core.units import MIB
from autoballoon.lab.vm import Vm
from autoballoon.views.lab_results import Sample

_QUIET_S = 5.0
_STAGES = {"ready": "fill", "filled": "ready", "done": "done", "oom": "killed", "failed": "failed"}


def stage(vm: Vm) -> str:
    """What a guest is doing, by the last thing it said."""
    if not vm.heard:
        return "boot"
    last = vm.heard[-1]
    if last.name in ("begin", "short", "phase"):
        return f"phase {int(last.data['n']) + (2 if last.name == 'phase' else 1)}"
    return _STAGES.get(last.name, last.name)


def sentence(arm: str, guests: int, vms: Sequence[Vm], sample: Sample | None) -> str:
    """One line: what the guests do, what they hold, what the host has swapped."""
    stages = [stage(vm) for vm in vms]
    doing = [f"{stages.count(name)} {name}" for name in dict.fromkeys(sorted(stages))]
    if guests > len(vms):
        doing.insert(0, f"{guests - len(vms)} boot")
    if sample is None:
        return f"{arm}: {', '.join(doing)}"
    of = f" of {sample.limit // MIB}" if sample.limit is not None else ""
    return (
        f"{arm} {sample.at_s:.0f} s: {', '.join(doing)} | {sample.usage // MIB}{of} MiB held | "
        f"swapped in {sample.swap_in_pages:,}, out {sample.swap_out_pages:,} pages"
    )


class Progress:
    """Says sentences, and shows how a run goes."""

    def __init__(self, to: TextIO, guests: int) -> None:
        self._to = to
        self.guests = guests
        self._live = to.isatty()
        self._shown = False
        self._next = 0.0

    def say(self, text: str) -> None:
        """A sentence that stays."""
        self._clear()
        print(text, file=self._to, flush=True)

    def watch(self, arm: str, vms: Sequence[Vm], sample: Sample | None) -> None:
        """How the run goes now."""
        if not self._live and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _QUIET_S
        text = sentence(arm, self.guests, vms, sample)
        if self._live:
            self._clear()
            print(text[:150], end="", file=self._to, flush=True)
            self._shown = True
        else:
            print(text, file=self._to, flush=True)

    def _clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=self._to)
            self._shown = False
