"""How soon a guest that takes more than it has is given it: from its first byte to the first page, and to all of it.

A guest says on its console that it begins, how much it will take, and how much it has available: what it lacks beyond
that must come out of its balloon. The balloon is looked at until it has, through a socket that no controller uses.
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
        self._spikes: list[dict[str, Any]] = []
        self._first: list[float | None] = []
        self._whole: list[float | None] = []
        self._enough = 0

    async def follow(self, vm: Vm) -> None:
        """Time every spike of this guest, until it ends."""
        async for event in vm.events():
            if event.name == "begin" and "takes" in event.data and event is vm.heard[-1]:
                await self._time(vm, event)

    async def _time(self, vm: Vm, begin: Event) -> None:
        lacks = int(begin.data["takes"]) - int(begin.data["available"])
        if lacks <= 0:
            self._enough += 1
            return
        self._spikes.append({"guest": vm.name, "at_s": round(begin.at - self._began, 3), "lacks": lacks})
        number = len(self._spikes) - 1
        self._first.append(None)
        self._whole.append(None)
        least = begun = await self._size_of(vm)
        first: float | None = None
        whole: float | None = None
        while begun is not None and least is not None and whole is None and vm.heard[-1] is begin:
            await asyncio.sleep(LOOK_EVERY_S)
            size, waited = await self._size_of(vm), time.monotonic() - begin.at
            if size is None:
                break
            if first is None and size > least:
                first = waited
            least = min(least, size)
            if size >= begun + lacks:
                whole = waited
        self._first[number] = None if first is None else round(first, 4)
        self._whole[number] = None if whole is None else round(whole, 4)

    def extra(self) -> dict[str, Any]:
        """For Run.extra: each spike; its seconds, null where the guest was through before it was given that; and how
        many lacked nothing."""
        return {
            "spikes": self._spikes,
            "first_s": self._first,
            "whole_s": self._whole,
            "spikes_enough": self._enough,
        }


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
