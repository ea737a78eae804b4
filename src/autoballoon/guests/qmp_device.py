"""The balloon device of one guest in QEMU's object tree: where it sits, whether its driver is up, its statistics."""

import re
from collections.abc import Sequence
from typing import Any

from autoballoon.guests.qmp_client import Command
from autoballoon.guests.qmp_wire import Refused, Wire, as_dict

_HOMES = ("/machine/peripheral", "/machine/peripheral-anon", "/machine/unattached")
"""Where QEMU keeps devices with an id, without one, and those that a machine type brings along."""

LOOK_FOR_DEVICE = tuple(Command("qom-list", {"path": home}) for home in _HOMES)
"""What `device_in` wants to know."""

NO_BALLOON = "the guest has no balloon device; start QEMU with -device virtio-balloon-pci"

_BALLOON = re.compile(r"child<(virtio-balloon-(?:pci|ccw|device)[a-z-]*)>")
_STATS_QUEUE = 2
"""Inflate, deflate, statistics: QEMU makes them in this order whatever the guest negotiates."""


class Device:
    """The balloon device at `path`; its calls raise what Wire.run raises."""

    def __init__(self, wire: Wire, path: str, virtio: str) -> None:
        self._wire = wire
        self.path = path
        self._virtio = virtio
        """The virtio device proper: behind a PCI or CCW proxy, or `path` itself on virtio-mmio."""
        self._knows_virtio = True
        self.seconds = 1
        """Between two requests for statistics."""

    async def switch_on(self) -> bool:
        """Have QEMU request statistics regularly, each second unless the device has an interval of its own; whether
        they were off."""
        interval = await self._wire.run("qom-get", **self._where("guest-stats-polling-interval"))
        self.seconds = interval if isinstance(interval, int) and interval > 0 else 1
        if interval != self.seconds:
            await self.set_interval(self.seconds)
        return bool(interval != self.seconds)

    async def set_interval(self, seconds: int) -> None:
        """Request statistics every `seconds` from now on, 0 for never; the first at once when it was 0."""
        await self._wire.run_all(self.interval(seconds))

    def interval(self, seconds: int) -> Command:
        """What `set_interval` sends."""
        return Command("qom-set", {**self._where("guest-stats-polling-interval"), "value": seconds})

    @property
    def stats(self) -> Command:
        """Asks for the last statistics that the guest sent, as QEMU keeps them: unchecked, and served for ever."""
        return Command("qom-get", self._where("guest-stats"))

    async def driver(self) -> tuple[bool | None, bool | None]:
        """(the guest's driver is up, it may deflate by itself); None for what QEMU cannot tell (before 7.2)."""
        if self._knows_virtio:
            try:
                answer = await self._wire.run_dict("x-query-virtio-status", path=self._virtio)
            except Refused:
                self._knows_virtio = False
            else:
                is_up = _has(answer, "status", "statuses", "DRIVER_OK")
                deflates = _has(answer, "guest-features", "dev-features", "DEFLATE_ON_OOM")
                return is_up, deflates if is_up else None
        try:
            offered = await self._wire.run("qom-get", **self._where("deflate-on-oom"))
        except Refused:
            offered = None
        return None, False if offered is False else None

    @property
    def mark(self) -> Command:
        """Asks for what changes with each answer of the guest; `marked` reads it.

        Within one second neither last-update nor, in an idle guest, any statistic changes (48 of 60 answers were the
        same to the bit). The statistics queue's index counts the buffers that the guest has sent: it grows with each
        answer (200 of 200, QEMU 7.2), and no buffer is in use while a request is unanswered. An older QEMU does not
        show the queue; there only a changed reading is known to be fresh.
        """
        if self._knows_virtio:
            return Command("x-query-virtio-queue-status", {"path": self._virtio, "queue": _STATS_QUEUE})
        return self.stats

    def marked(self, answer: object) -> tuple[object, bool]:
        """(what changes with each answer of the guest, whether it owes us one) in what QEMU answered to `mark`."""
        if isinstance(answer, Refused):
            self._knows_virtio = False
            return None, True  # the next time it is asked in the other way
        if not self._knows_virtio:
            return answer, False
        queue = as_dict(answer, "x-query-virtio-queue-status")
        return queue.get("last-avail-idx"), queue.get("inuse") == 0

    def _where(self, name: str) -> dict[str, object]:
        return {"path": self.path, "property": name}


def device_in(wire: Wire, homes: Sequence[object]) -> Device | None:
    """The guest's balloon device wherever it sits, or None: QEMU allows one at most.

    `homes` are the answers to LOOK_FOR_DEVICE.
    """
    for home, children in zip(_HOMES, homes, strict=True):
        for child in children if isinstance(children, list) else ():
            if not isinstance(child, dict):
                continue
            kind = _BALLOON.fullmatch(str(child.get("type")))
            if kind is not None:
                path = f"{home}/{child.get('name')}"
                return Device(
                    wire, path, path if kind[1] == "virtio-balloon-device" else f"{path}/virtio-backend"
                )
    return None


def _has(answer: dict[str, Any], group: str, kind: str, word: str) -> bool:
    inner = answer.get(group)
    names = inner.get(kind) if isinstance(inner, dict) else None
    return isinstance(names, list) and any(word in str(name) for name in names)
