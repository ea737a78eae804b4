"""What became of the balloon in one run: targets that were reached or not, pages inflated for nothing."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from autoballoon.core.units import MIB
from autoballoon.lab.vm import Event

NEAR = MIB
"""A guest this close to its target has reached it: drivers move whole chunks of 1 MiB at most."""

VOICES_S = 60.0
"""Agents are waited for so long: Python took up to 40 s to start in guests that all boot at once, on two cores."""


class Followed:
    """Targets, whoever set them, and whether guests came to them."""

    def __init__(self) -> None:
        self._targets: dict[str, tuple[int, float]] = {}
        """By guest: the size asked for last, and when."""
        self._reached: dict[str, float] = {}
        """By guest: how long it took to be there; a new target is not reached."""
        self._voices: frozenset[str] = frozenset()
        """Guests whose agents the controller has heard."""
        self._headrooms: list[tuple[float, int]] = []
        """When the controller decided, and what it kept for growth beyond need in all guests, bytes."""

    def asked(self, sizes: Mapping[str, int], at_s: float) -> None:
        """These guests are to have these sizes, bytes, from now on."""
        for name, size in sizes.items():
            self._targets[name] = (size, at_s)
            self._reached.pop(name, None)

    def told(self, data: Mapping[str, Any], at_s: float) -> None:
        """What the controller decided in a tick, as `status --json` prints it."""
        kept, agents = 0, data.get("daemon", {}).get("agents", {})
        self._voices = frozenset(name for name, agent in agents.items() if agent["age_s"] is not None)
        for decision in data.get("decisions", []):
            if decision.get("kind") == "set-target":
                self.asked({decision["guest"]: int(decision["to"])}, at_s)
            kept += int(decision.get("numbers", {}).get("headroom", 0))
        if kept:
            self._headrooms.append((at_s, kept))

    async def silent(self, guests: Collection[str]) -> list[str]:
        """Wait until the controller has heard the agents of all these guests, or for VOICES_S; those it has not."""
        for _ in range(round(VOICES_S / 0.2)):
            if self._voices.issuperset(guests):
                break
            await asyncio.sleep(0.2)
        return sorted(set(guests) - self._voices)

    def seen(self, sizes: Mapping[str, int], at_s: float) -> None:
        """The sizes that guests have at that moment; one older than its target says nothing about it."""
        for name, size in sizes.items():
            target, since = self._targets.get(name, (-1, 0.0))
            if target < 0 or at_s <= since:
                continue
            if abs(size - target) <= NEAR:
                self._reached.setdefault(name, at_s - since)
            else:
                self._reached.pop(name, None)

    def extra(self) -> dict[str, Any]:
        """For Run.extra: how many guests had a target and were at it in the end, how long the last one took (null: not
        all came), and what the controller kept for growth in all guests, bytes, on the average over time (null: it kept
        nothing)."""
        reached = list(self._reached.values())
        return {
            "targets": len(self._targets),
            "targets_reached": len(reached),
            "target_s": round(max(reached), 1) if reached and len(reached) == len(self._targets) else None,
            "headrooms": self._headroom(),
        }

    def _headroom(self) -> int | None:
        spans = [(then - now, kept) for (now, kept), (then, _) in pairwise(self._headrooms)]
        over_s = sum(span for span, _ in spans)
        return round(sum(span * kept for span, kept in spans) / over_s) if over_s else None


def balloons_of(guests: Iterable[Sequence[Event]]) -> dict[str, int | None]:
    """For Run.extra: pages that the guests' kernels put into balloons in all, and those that were there in the end.

    None where no guest lived to tell of it.
    """
    last = [found[-1] for heard in guests if (found := [e.data for e in heard if "inflated" in e.data])]
    inflated = sum(int(data["inflated"]) for data in last)
    deflated = sum(int(data["deflated"]) for data in last)
    return {
        "inflated_pages": inflated if last else None,
        "kept_pages": inflated - deflated if last else None,
    }
