"""`run --release`: let run what a daemon that ended had stopped, lift the limits it had set, and nothing else."""

import asyncio
import glob
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.core.track import LAND_S
from autoballoon.daemon.containment import Containment
from autoballoon.daemon.keeper import Identity, Keeper
from autoballoon.daemon.lock import ControlSocket
from autoballoon.daemon.statefile import StateFile, Stopped, state_path
from autoballoon.daemon.stops import Stops, may_land
from autoballoon.guests.hypervisor import Hypervisor
from autoballoon.guests.libvirt import LibvirtHypervisor
from autoballoon.guests.libvirt_uri import uri_of
from autoballoon.guests.qmp import QmpHypervisor
from autoballoon.guests.several import Several
from autoballoon.host.apart import Apart, apart
from autoballoon.host.find import qemu_behind
from autoballoon.host.find_domain import qemu_of_domain
from autoballoon.host.process import ProcessReader

PATIENCE_S = 4.0
"""A guest that cannot be resumed is tried again for so long."""
AGAIN_S = 0.2

Connect = Callable[[Iterable[str]], Hypervisor]
"""(keys) -> a hypervisor that shows at least the guests with these keys."""


async def release(
    socket: str,
    connect: Connect | None = None,
    identity: Identity | None = None,
    apart: Apart = apart,
    root: Path = Path("/"),
) -> list[str]:
    """Resume the guests in the state file of the daemon at this control socket, lift their limits; a sentence for each.

    CouldNot when that daemon runs (it resumes them itself), or when a guest could not be resumed: it stays in the
    file. `connect`, `identity` and `root` are for tests.
    """
    control = ControlSocket(Path(socket))
    try:
        keeper = Keeper(StateFile(state_path(socket, os.environ)), apart)
        await keeper.load(identity or ProcessReader().identity)
        lifted = await Containment(keeper, apart, root).lift()
        stops = Stops(keeper)
        if not stops.entries:
            return lifted or ["no guest is stopped or limited by autoballoon"]
        hypervisor = (connect or _connect)(one.key for one in stops.entries)
        await hypervisor.start(_let_be)
        try:
            return lifted + await _resume_all(hypervisor, stops)
        finally:
            await hypervisor.close()
    finally:
        control.close()


async def _resume_all(hypervisor: Hypervisor, stops: Stops) -> list[str]:
    clock = asyncio.get_running_loop().time
    deadline = clock() + PATIENCE_S
    said: dict[str, str] = {}
    left: Sequence[Stopped] = stops.entries
    while left and clock() < deadline:
        for one in left:
            says = await _resume(hypervisor, one)
            if says is not None:
                said[one.key] = says
        await stops.forget(said)
        left = stops.entries
        if left:
            await asyncio.sleep(AGAIN_S)
    if left:
        running = {guest.key for guest in await hypervisor.read() if guest.running}
        soon = [one for one in left if one.key in running]
        still = [one for one in left if one.key not in running]
        told = [*said.values()]
        if still:
            mend = "see whether its QMP socket is in use or its libvirtd runs, and try again"
            told.append(f"still stopped: {_named(still)}; {mend}")
        if soon:
            told.append(f"told to stop a moment ago, and may yet: {_named(soon)}; try again in {LAND_S:g} s")
        raise CouldNot("; ".join(told))
    return list(said.values())


def _named(some: Iterable[Stopped]) -> str:
    return ", ".join(f"{one.name} ({one.key})" for one in some)


async def _resume(hypervisor: Hypervisor, one: Stopped) -> str | None:
    """What became of it, in a sentence; None when it could not be asked, or may stop only now."""
    guest = next((guest for guest in await hypervisor.read() if guest.key == one.key), None)
    if guest is None or guest.pid is None:
        return None
    if guest.pid != one.pid:
        return f"{one.name}: another QEMU is at its socket now; it is left as it is"
    if guest.running:
        return None if may_land(one, asyncio.get_running_loop().time()) else f"{one.name} runs already"
    done = await hypervisor.resume(one.key)
    if done is None:
        return None
    return f"{one.name} runs again" if done else f"{one.name} stands still for another reason and is left so"


def _connect(keys: Iterable[str]) -> Hypervisor:
    """Sockets and libvirt connections of the guests with these keys."""
    keys = tuple(keys)
    uris = {uri for key in keys if (uri := uri_of(key)) is not None}
    sockets = [glob.escape(key) for key in keys if uri_of(key) is None]
    members: list[Hypervisor] = [QmpHypervisor(sockets, verify=qemu_behind)] if sockets else []
    if uris:
        members.append(LibvirtHypervisor(sorted(uris), verify=qemu_of_domain, age_s=ProcessReader().age_s))
    return Several(members)


def _let_be(why: str, *, freed: bool = False) -> None:
    """No tick is to come early here."""
