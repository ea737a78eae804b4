"""One guest's whole lifetime: its QEMU process, its console, its two QMP sockets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from autoballoon.lab.accel import Accel
from autoballoon.lab.image import GuestImage

BALLOON = "virtio-balloon-pci,id=balloon0,deflate-on-oom=on"
"""The device line of a guest that may deflate by itself; append ",free-page-reporting=on" for the other."""


class Event(msgspec.Struct, frozen=True):
    """One line that the workload printed on its console: `@ab {"event": NAME, ...}`."""

    name: str
    """ready, filled, phase, done, oom, answer"""
    at: float
    """When it arrived, time.monotonic()."""
    data: dict[str, Any]


class VmSpec(msgspec.Struct, frozen=True):
    """What a guest is made of."""

    name: str
    image: GuestImage
    accel: Accel
    memory_mib: int = 512
    workload: str = "idle"
    """idle, eat or wave"""
    params: Mapping[str, int] = {}
    """The workload's own parameters (`ab.NAME=VALUE` on the kernel command line)."""
    balloon: str | None = BALLOON
    """The balloon's device line; None: a guest without a balloon."""
    may_reset: bool = False
    """True: a reset boots the guest again; False: it ends QEMU."""


class Vm:
    """A guest that has printed "ready". Made by LabHost.start_vm."""

    name: str
    pid: int
    """QEMU's process, in the lab's group."""
    ctl: Path
    """QMP socket for the controller."""
    eye: Path
    """QMP socket for the instruments."""
    heard: list[Event]
    """Every event so far, oldest first."""

    async def expect(self, *names: str, timeout: float) -> Event:
        """The next event of one of these names, others skipped; CouldNot when the guest dies or time runs out."""
        raise NotImplementedError

    def send(self, line: str) -> None:
        """Type a line on the guest's console ("go" for wave; "take MIB", "free", "read MIB", "drop" for eat)."""
        raise NotImplementedError

    def stop(self) -> None:
        """SIGSTOP to QEMU: a host process that hangs, not a paused guest."""
        raise NotImplementedError

    def cont(self) -> None:
        """SIGCONT to QEMU."""
        raise NotImplementedError

    async def kill(self) -> None:
        """SIGKILL to QEMU, and wait until it is gone. Safe to call twice."""
        raise NotImplementedError

    async def __aenter__(self) -> "Vm":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
