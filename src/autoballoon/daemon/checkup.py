"""Gathering for doctor: the host, and every guest through the running daemon, its own socket, libvirt or /proc.

Changes nothing. A QMP socket serves one client, so where a daemon runs it is asked for what it knows, and what it
does not tell (VFIO, locked memory, the device's options) is read from QEMU's process.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.facts import Complaint, Facts, GuestFacts
from autoballoon.core.health import DRIVER_WAIT_S
from autoballoon.core.model import Guest
from autoballoon.core.track import RESIDENT_SLACK
from autoballoon.daemon.config import Config
from autoballoon.guests import libvirt_checkup, qmp_checkup
from autoballoon.guests.agent_kernel import kernel_of
from autoballoon.guests.sockets import sockets
from autoballoon.host.checkup import host_facts
from autoballoon.host.find import manager_of, other_managers_socket, qemu_behind
from autoballoon.host.guest_group import GuestGroups, Unfit
from autoballoon.host.process import ProcessReader
from autoballoon.host.qemu import Qemu, all_qemus
from autoballoon.views.status import Status

SECOND_LOOK_S = 2.0
"""A guest that is held above its size may be shrinking just now: it is looked at once more after this."""

Sleep = Callable[[float], Awaitable[object]]

_replace = msgspec.structs.replace


async def gather(
    config: Config | None, status: Status | None, root: Path = Path("/"), sleep: Sleep = asyncio.sleep
) -> Facts:
    """Everything that can be known now: by the daemon that runs, or by the configuration, or by /proc alone."""
    qemus = await asyncio.to_thread(all_qemus, root)
    contain: str | None = None
    said: list[Complaint] = []
    if status is not None:
        guests = [_told(guest) for guest in status.snapshot.guests]
        said = [Complaint(one.where, one.says, one.kind) for one in status.daemon.problems]
    elif config is not None:
        guests = await _behind_sockets(config, root, said)
        guests += await _domains(config, said)
    else:
        guests = []
    guests = _one_each([_joined(guest, _process_of(guest, qemus)) for guest in guests])
    known = {guest.pid for guest in guests}
    guests += [_joined(_unseen(qemu), qemu) for qemu in qemus if qemu.pid not in known]
    guests = await _with_kernels(guests, qemus)
    guests = await _with_resident(guests, root, sleep if status is None else None)
    if config is not None:
        guests = [_bounded(guest, config) for guest in guests]
        if config.contain:
            contain, guests = await asyncio.to_thread(_contained, config, guests, root)
    host = await asyncio.to_thread(
        host_facts,
        "auto" if config is None else config.capacity,
        None if status is None else status.daemon.pid,
        root,
        None if config is None else config.reserve,
    )
    if status is not None:
        host = _replace(host, pool=status.daemon.account.pool)
    return Facts(
        host=_replace(host, contain=contain),
        guests=tuple(guests),
        daemon=status is not None,
        configured=config is not None or status is not None,
        said=tuple(said),
    )


def _bounded(guest: GuestFacts, config: Config) -> GuestFacts:
    """The guest with what the configuration says of it."""
    bounds = config.bounds(guest.name)
    floor = guest.floor if guest.ram is None else bounds.within(guest.ram)[0]
    return _replace(guest, managed=bounds.manage, floor=floor)


def _told(guest: Guest) -> GuestFacts:
    """What the daemon's snapshot says of a guest."""
    has_spoken = guest.age_s is not None or guest.driver is not None
    return GuestFacts(
        key=guest.key,
        name=guest.name,
        pid=guest.pid,
        running=guest.running,
        ram=guest.max,
        actual=guest.actual,
        resident=guest.resident,
        floor=guest.floor,
        balloon=True if has_spoken else None,
        driver=guest.driver,
        period_s=guest.period_s,
        age_s=guest.age_s,
        answered=_has_answered(guest),
        autodeflate=guest.deflates_itself,
    )


def _has_answered(guest: Guest) -> bool | None:
    """Whether statistics of it ever came; unknown of one without a known driver that may still be booting."""
    if guest.age_s is not None:
        return True
    is_up = guest.managed and guest.running and (guest.up_s or 0.0) > DRIVER_WAIT_S
    return False if guest.driver or (guest.driver is None and is_up) else None


async def _behind_sockets(config: Config, root: Path, said: list[Complaint]) -> list[GuestFacts]:
    """The guests whose sockets the configuration matches, asked one by one; others' sockets are not touched.

    What is not to be touched for its name goes into `said`.
    """
    free: list[tuple[str, str]] = []
    others: list[GuestFacts] = []
    refused: dict[str, str] = {}
    for path, stem in sockets(config.qmp, refused).items():
        owned = other_managers_socket(path)
        if owned is None:
            free.append((path, stem))
        else:
            others.append(GuestFacts(key=path, name=stem, owned=owned, manager=manager_of(path)))
    said += [Complaint(path, says) for path, says in refused.items()]
    found = await qmp_checkup.look_at_all(free, lambda path, pid: qemu_behind(path, pid, root))
    return [*found, *others]


async def _domains(config: Config, said: list[Complaint]) -> list[GuestFacts]:
    """The domains of the libvirt connections; what keeps one of them closed goes into `said`."""
    guests = []
    for uri in config.libvirt:
        found = await libvirt_checkup.domains(uri)
        if isinstance(found, str):
            said.append(Complaint(uri, found))
            continue
        for one in found:
            guests.append(
                GuestFacts(
                    key=f"{uri} {one.uuid}",
                    name=one.name,
                    manager="libvirt",
                    trouble=one.trouble,
                    actual=one.actual,
                    balloon=one.balloon,
                    period_s=one.period_s,
                    age_s=one.age_s,
                    answered=one.answered,
                    autodeflate=one.autodeflate,
                    reporting=one.reporting,
                )
            )
    return guests


def _process_of(guest: GuestFacts, qemus: Sequence[Qemu]) -> Qemu | None:
    for qemu in qemus:
        is_its_uuid = qemu.uuid is not None and qemu.uuid in guest.key
        if guest.pid == qemu.pid or (guest.pid is None and (is_its_uuid or guest.key in qemu.qmp)):
            return qemu
    return None


def _one_each(guests: Sequence[GuestFacts]) -> list[GuestFacts]:
    """One guest for each process: a domain of libvirt that has a socket too is libvirt's."""
    last = {guest.pid: guest for guest in guests}
    return [guest for guest in guests if guest.pid is None or last[guest.pid] is guest]


def _unseen(qemu: Qemu) -> GuestFacts:
    return GuestFacts(key=f"pid {qemu.pid}", name=qemu.name or f"pid {qemu.pid}", seen=False, pid=qemu.pid)


def _joined(guest: GuestFacts, qemu: Qemu | None) -> GuestFacts:
    """The guest with what its process shows; where both know something, the guest's own source is right."""
    if qemu is None:
        return guest
    options = qemu.balloon
    # A device may have been plugged later; only a process that nobody has asked is judged by its words alone.
    balloon = guest.balloon if guest.balloon is not None else options is not None
    shown = {
        "autodeflate": _on(options, "deflate-on-oom"),
        "reporting": _on(options, "free-page-reporting"),
        "period_s": _seconds(options),
    }
    return _replace(
        guest,
        pid=qemu.pid,
        manager=guest.manager or qemu.manager,
        connection=qemu.connection,
        balloon=balloon,
        vfio=qemu.vfio,
        hugetlb=qemu.hugetlb,
        locked=qemu.locked,
        nodes=qemu.nodes,
        **{name: value for name, value in shown.items() if getattr(guest, name) is None},
    )


def _on(options: dict[str, str] | None, name: str) -> bool | None:
    return None if options is None else options.get(name, "off") in ("on", "yes", "true", "y")


def _seconds(options: dict[str, str] | None) -> int | None:
    """The device's own interval; unknown where it has none: somebody may have set one since."""
    text = "" if options is None else options.get("guest-stats-polling-interval", "")
    return int(text) if text.isdigit() and len(text) < 10 and int(text) else None


async def _with_kernels(guests: Sequence[GuestFacts], qemus: Sequence[Qemu]) -> list[GuestFacts]:
    """The guests with the kernels that their agents tell; agents behind other managers' sockets are not asked."""
    agents = {qemu.pid: qemu.agent for qemu in qemus if qemu.agent is not None}

    async def one(guest: GuestFacts) -> GuestFacts:
        socket = agents.get(guest.pid or 0)
        if socket is None or not guest.running or other_managers_socket(socket) is not None:
            return guest
        return _replace(guest, kernel=await kernel_of(socket))

    return list(await asyncio.gather(*(one(guest) for guest in guests)))


async def _with_resident(guests: Sequence[GuestFacts], root: Path, sleep: Sleep | None) -> list[GuestFacts]:
    """The guests with what the host holds for them: of two looks the lower, where the first is above the size."""
    reader = ProcessReader(root)

    def held(guest: GuestFacts) -> GuestFacts:
        if guest.pid is None or guest.ram is None or guest.actual is None:
            return guest
        found = reader.read(guest.pid, guest.ram)
        return (
            guest
            if found is None
            else _replace(guest, resident=min(guest.resident or found.resident, found.resident))
        )

    looked = [held(guest) for guest in guests]
    if sleep is not None and any(_is_above(guest) for guest in looked):
        await sleep(SECOND_LOOK_S)
        looked = [held(guest) if _is_above(guest) else guest for guest in looked]
    return looked


def _contained(
    config: Config, guests: Sequence[GuestFacts], root: Path
) -> tuple[str | None, list[GuestFacts]]:
    """Why no guest can be contained on this machine; else the guests, with why this or that one cannot."""
    groups = GuestGroups(root)
    try:
        groups.require()
    except BadInput as error:
        return str(error), list(guests)
    spared = groups.of_capacity(config.capacity)

    def one(guest: GuestFacts) -> GuestFacts:
        if guest.pid is None:
            return guest
        try:
            groups.find(guest.pid, spared).close()
        except Unfit as unfit:
            return _replace(guest, uncontained=unfit.facts)
        except (OSError, CouldNot):
            return guest  # it ends just now
        return guest

    return None, [one(guest) for guest in guests]


def _is_above(guest: GuestFacts) -> bool:
    return (
        guest.resident is not None
        and guest.actual is not None
        and guest.resident > guest.actual + RESIDENT_SLACK
    )
