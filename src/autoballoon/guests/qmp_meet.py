"""Getting to know the guest behind a QMP socket that has just been connected."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from autoballoon.core.calm import CALM_EVERY_S
from autoballoon.guests.naming import printable
from autoballoon.guests.qmp_client import Command
from autoballoon.guests.qmp_device import LOOK_FOR_DEVICE, Device, device_in
from autoballoon.guests.qmp_guest import LARGEST, Known
from autoballoon.guests.qmp_wire import Unusable, Wire, as_dict

SIZE = Command("query-memory-size-summary")
"""How much memory a guest has."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What all sessions share."""

    verify: Callable[[str, int | None], int | None]
    """(socket, pid of its listener) -> pid of the QEMU behind it, or None."""
    age_s: Callable[[int], float | None]
    """Seconds since a process began."""
    timeout_s: float = 2.0
    """For one command, and for connecting."""
    interval_s: float = 1.0
    """Between two regular looks at a guest's statistics ..."""
    calm_every_s: float = CALM_EVERY_S
    """... and at those of a guest of whom nothing is expected."""
    queue_s: float = 600.0
    """In the queue of a server that does not greet; then another attempt is made, should it have forgotten us."""
    backoff_s: tuple[float, float] = (0.2, 5.0)
    """Before the first attempt to connect again, and at most before a later one: it doubles."""
    clock: Callable[[], float] = time.monotonic
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a socket is verified. That takes milliseconds, and fifty guests may start at once: one in each pass of
    the event loop, so that others go on in between."""
    seen_through: dict[int, str] = field(default_factory=dict)
    """The socket of each verified process: a QEMU may have several monitors, and is one guest."""

    def let_go(self, path: str) -> None:
        """No process is seen through the socket `path` any more."""
        for pid in [pid for pid, socket in self.seen_through.items() if socket == path]:
            del self.seen_through[pid]


async def meet(
    wire: Wire, path: str, stem: str, terms: Terms, known: Known | None
) -> tuple[Known, Device | None]:
    """The guest as QEMU shows it now, and its balloon device. Raises what Wire.run raises, and Unusable.

    `known` is the guest that was last seen at this socket: it is kept, with its statistics and their age, when the
    process behind the socket is verified to be the same.
    """
    now = terms.clock()
    async with terms.turn:
        pid = terms.verify(path, wire.peer_pid)
    if known is not None and known.pid != pid:
        terms.let_go(path)
    if pid is not None and (first := terms.seen_through.setdefault(pid, path)) != path:
        raise Unusable(
            f"is another monitor of the QEMU at {first}, and no guest more; take it out of [connect] qmp"
        )
    name, status, migration, balloon, summary, *homes = await wire.run_each(
        *(Command(f"query-{what}") for what in ("name", "status", "migrate", "balloon")),
        SIZE,
        *LOOK_FOR_DEVICE,
    )
    size, device = await ram(wire, summary), device_in(wire, homes)
    if known is None or pid is None or known.pid != pid:
        age_s = None if pid is None else terms.age_s(pid)
        known = Known(
            name=name_of(name, stem),
            pid=pid,
            max=size,
            actual=size,
            born_at=None if age_s is None else now - age_s,
        )
    known.learn_max(size)
    known.has_balloon = device is not None and isinstance(balloon, dict)
    known.learn_status(as_dict(status, "query-status"))
    known.learn_migration(migration)
    if device is None or not known.has_balloon:
        return known, None
    known.learn_actual(balloon.get("actual"))
    known.interval_was_off |= await device.switch_on()
    known.period_s = device.seconds
    known.driver, known.deflates_itself = await device.driver()
    return known, device


async def read_state(wire: Wire, known: Known) -> None:
    """Whether it runs, and whether it is being moved to another host. QEMU announces migrations only when asked to."""
    status, migration = await wire.run_each(Command("query-status"), Command("query-migrate"))
    known.learn_status(as_dict(status, "query-status"))
    known.learn_migration(migration)


async def ram(wire: Wire, summary: object = None) -> int:
    """What the balloon's arithmetic takes for the guest's RAM: without virtio-mem (get_current_ram_size in QEMU).

    `summary` is the answer to SIZE, where it is there already.
    """
    summary = as_dict(summary or await wire.run(SIZE.name), SIZE.name)
    base = summary.get("base-memory")
    if not isinstance(base, int) or not 0 < base <= LARGEST:
        raise Unusable("tells no size of its memory; look whether it is QEMU's")
    if not summary.get("plugged-memory"):
        return base
    try:
        devices = msgspec.convert(await wire.run("query-memory-devices"), list[_MemoryDevice])
    except msgspec.ValidationError:
        return base
    return base + sum(device.data.size for device in devices if device.type in ("dimm", "nvdimm"))


class _MemorySize(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(ge=0, le=LARGEST)] = 0


class _MemoryDevice(msgspec.Struct):
    type: str
    data: _MemorySize


def name_of(answer: object, stem: str) -> str:
    """The guest's name as QEMU answers query-name, else the socket's stem; printable and bounded."""
    name = answer.get("name") if isinstance(answer, dict) else None
    return printable(name if isinstance(name, str) and name else stem)
