"""How soon a guest that takes more than it has is given it: to the first page, and to all of it; counted from its first
byte, and from when it has used what it had.

A guest says on its console that it begins, how much it will take, and how much it has available: what it lacks beyond
that must come out of its balloon. It says too when it runs short: until then it misses nothing. The balloon is looked
at until it has, through a socket that no controller uses.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from autoballoon.lab.vm import Event, Vm

LOOK_EVERY_S = 0.02
"""Between two looks at a guest's size: no time is known better than that. A look takes the lab 1 ms or so."""


class Spikes:
    """All spikes of one run that began at `began`, time.monotonic(). `size_of(vm)` asks a guest's QEMU for its size in
    bytes, or tells None."""

    def __init__(self, size_of: Callable[[Vm], Awaitable[int | None]], began: float) -> None:
        self._size_of = size_of
        self._began = began
        self._spikes: list[_Spike] = []
        self._enough = 0

    async def follow(self, vm: Vm) -> None:
        """Time every spike of this guest, until it ends."""
        async for event in vm.events():
            if event.name == "begin" and "takes" in event.data and not _is_over(vm, event):
                await self._time(vm, event)

    async def _time(self, vm: Vm, begin: Event) -> None:
        lacks = int(begin.data["takes"]) - int(begin.data["available"])
        if lacks <= 0:
            self._enough += 1
            return
        spike = _Spike(vm.name, begin.at, lacks)
        self._spikes.append(spike)
        size = await self._size_of(vm)
        while size is not None and not spike.see(size, time.monotonic()) and not _is_over(vm, begin):
            await asyncio.sleep(LOOK_EVERY_S)
            size = await self._size_of(vm)
            # A size is no older than the shortage that was heard before it was asked for, but for the last look's time.
            short = next((event for event in _since(vm, begin) if event.name == "short"), None)
            if short is not None:
                spike.runs_short(short.at)

    def extra(self) -> dict[str, Any]:
        """For Run.extra: each spike; its seconds, null where the guest was through before it was given that; the same
        from when it ran short, of those that did; and how many lacked nothing."""
        ran_short = [spike for spike in self._spikes if spike.short_at is not None]
        return {
            "spikes": [
                {
                    "guest": spike.guest,
                    "at_s": round(spike.begun - self._began, 3),
                    "lacks": spike.lacks,
                    "short_s": _after(spike.begun, spike.short_at),
                }
                for spike in self._spikes
            ],
            "first_s": [_after(spike.begun, spike.first_at) for spike in self._spikes],
            "whole_s": [_after(spike.begun, spike.whole_at) for spike in self._spikes],
            "first_short_s": [_after(spike.short_at, spike.relief_at) for spike in ran_short],
            "whole_short_s": [_after(spike.short_at, spike.whole_at) for spike in ran_short],
            "spikes_enough": self._enough,
        }


class _Spike:
    """One spike as it is seen, size by size. Times are of the monotonic clock; None: not yet."""

    def __init__(self, guest: str, begun: float, lacks: int) -> None:
        self.guest, self.begun, self.lacks = guest, begun, lacks
        self.short_at: float | None = None
        """The guest had used what it had, with all that it had been given until then."""
        self.first_at: float | None = None
        self.relief_at: float | None = None
        """The first page that came after it ran short."""
        self.whole_at: float | None = None
        self._size: int | None = None
        self._least = self._least_short = 0
        self._aim = 0

    def runs_short(self, at: float) -> None:
        """The guest said so at that time."""
        if self.short_at is None:
            self.short_at, self._least_short = at, self._size or 0

    def see(self, size: int, now: float) -> bool:
        """It has this size now; whether it has all that it lacked."""
        if self._size is None:
            self._least, self._aim = size, size + self.lacks
        if self.first_at is None and size > self._least:
            self.first_at = now
        if self.short_at is not None and self.relief_at is None and size > self._least_short:
            self.relief_at = now
        self._size, self._least, self._least_short = (
            size,
            min(self._least, size),
            min(self._least_short, size),
        )
        if size >= self._aim:
            self.whole_at = now
        return self.whole_at is not None


def _since(vm: Vm, begin: Event) -> list[Event]:
    """What the guest has said after that."""
    at = next(number for number, event in enumerate(vm.heard) if event is begin)
    return vm.heard[at + 1 :]


def _is_over(vm: Vm, begin: Event) -> bool:
    """Whether the phase that began so has ended."""
    return any(event.name != "short" for event in _since(vm, begin))


def _after(begun: float | None, at: float | None) -> float | None:
    return None if begun is None or at is None else round(max(0.0, at - begun), 4)


def waited_of(guests: Iterable[Sequence[Event]]) -> dict[str, float | None]:
    """For Run.extra: seconds in which something in a guest waited for memory, from full to done, summed over guests.

    None where a guest's kernel does not tell, or none was done.
    """
    waits = []
    for heard in guests:
        told = {e.name: float(e.data["psi_some_s"]) for e in heard if "psi_some_s" in e.data}
        if "filled" in told and "done" in told:
            waits.append(told["done"] - told["filled"] if min(told.values()) >= 0 else None)
    known = [wait for wait in waits if wait is not None]
    return {"guests_psi_s": round(sum(known), 3) if known and len(known) == len(waits) else None}
