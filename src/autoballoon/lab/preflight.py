"""What must be so before a lab makes anything: QEMU, root, room in memory and on disk, nobody else's guests."""

import os
import shutil
from pathlib import Path

import msgspec

from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.units import MIB, size_text
from autoballoon.host.files import kib_fields
from autoballoon.host.qemu import all_qemus
from autoballoon.lab import tidy
from autoballoon.lab.cache import cache_folder
from autoballoon.lab.group import Group
from autoballoon.lab.swap import SwapFile
from autoballoon.lab.vm import QEMU

FEWEST = 3
"""With fewer guests there is nobody to take memory from and to give it to."""
_SPARED_MEMORY = 512 * MIB
"""What stays with the rest of the machine."""
_SPARED_DISK = 1536 * MIB
"""The cache (1.1 GiB) and some to spare."""
_TRIAL_SWAP = MIB


class Room(msgspec.Struct, frozen=True):
    """How many guests fit here."""

    guests: int
    says: str | None
    """One sentence for the table when there are fewer than asked for, else None."""


class Machine(msgspec.Struct, frozen=True):
    """What the machine has to give, bytes."""

    memory: int
    disk: int


def preflight(*, guests: int, guest_size: int, swap: int, beside: bool) -> Room:
    """How many of the guests fit, at least 3. CouldNot: no root, no QEMU, other QEMUs running, no room, no
    memory groups.

    `guest_size` is what one QEMU takes at most, `swap` what all guests' swap file takes, in bytes; `beside` allows
    other QEMU processes.
    """
    if os.geteuid() != 0:
        raise CouldNot("the lab makes control groups and swap, which only root may: run it as root")
    if shutil.which(QEMU) is None:
        raise CouldNot(f"{QEMU} is not installed; install it with: apt-get install qemu-system-x86")
    if not beside and (others := all_qemus()):
        raise CouldNot(
            f"other QEMU processes run here (pid {', '.join(str(each.pid) for each in others)}) and would disturb the "
            "measurement and be disturbed by it; end them, or say --beside"
        )
    trial = Group(f"autoballoon-lab-{os.getpid()}")
    trial.make()
    trial.remove()
    return room(
        Machine(memory=_available(), disk=_free_disk()), guests=guests, guest_size=guest_size, swap=swap
    )


def room(machine: Machine, *, guests: int, guest_size: int, swap: int) -> Room:
    """How many of the guests fit on that machine; CouldNot when fewer than 3 do."""
    by_memory = (machine.memory - _SPARED_MEMORY) // guest_size
    by_disk = (machine.disk - _SPARED_DISK) * guests // swap if swap else guests
    fit = max(min(guests, by_memory, by_disk), 0)
    if fit == guests:
        return Room(guests=guests, says=None)
    if by_memory <= by_disk:
        why = f"{size_text(machine.memory)} of memory are available"
    else:
        why = f"{size_text(machine.disk)} are free on the disk of {cache_folder()}"
    if fit < FEWEST:
        raise CouldNot(f"only {why}, too little for {FEWEST} guests; free some, or use a larger machine")
    return Room(guests=fit, says=f"{fit} guests instead of {guests}, on a host as much smaller: only {why}")


def must_limit(limit: int, total: int) -> None:
    """BadInput when a host of `limit` bytes is as large as the machine of `total` bytes: it would limit nothing."""
    if limit >= total:
        raise BadInput(
            f"a host of {size_text(limit)} is no smaller than this machine of {size_text(total)}; "
            "give a smaller --limit"
        )


def must_swap(notes: Path = tidy.NOTES) -> None:
    """CouldNot where the lab may not swap: better told now than after a minute of fetching and making."""
    note = tidy.begin(cache_folder(), notes)
    try:
        SwapFile(Path(note.swap)).make(_TRIAL_SWAP)
    finally:
        note.remove_all()


def total_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that the machine has."""
    return _memory(b"MemTotal", root)


def _available() -> int:
    return _memory(b"MemAvailable")


def _memory(name: bytes, root: Path = Path("/")) -> int:
    return kib_fields((root / "proc/meminfo").read_bytes())[name]


def _free_disk() -> int:
    return shutil.disk_usage(cache_folder()).free
