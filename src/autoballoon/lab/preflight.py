"""What must be so before a lab makes anything: QEMU, root, room in memory and on disk, nobody else's guests."""

import msgspec


class Room(msgspec.Struct, frozen=True):
    """How many guests fit here."""

    guests: int
    says: str | None
    """One sentence for the table when there are fewer than asked for, else None."""


def preflight(*, guests: int, guest_size: int, swap: int, beside: bool) -> Room:
    """How much of what was asked for fits (at least 3 guests). CouldNot: no root, no QEMU, other QEMUs running, no room.

    `guest_size` and `swap` are bytes; `beside` allows other QEMU processes.
    """
    raise NotImplementedError
