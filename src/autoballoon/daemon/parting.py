"""Whom a new configuration leaves alone, and who is left with less than was handed back."""

from collections.abc import Collection, Sequence

from autoballoon.core.model import Guest, SetTarget
from autoballoon.core.units import names_text
from autoballoon.daemon.config import Config
from autoballoon.guests.libvirt_uri import uri_of
from autoballoon.guests.sockets import sockets

MOST_NAMED = 3


def left_alone(old: Config, new: Config, guests: Sequence[Guest]) -> frozenset[str]:
    """Keys of those of the `guests`, seen and managed under `old`, that are not under `new`."""
    left = {guest.key for guest in guests if guest.managed and not new.bounds(guest.name).manage}
    if (new.qmp, new.libvirt) != (old.qmp, old.libvirt):
        there = sockets(new.qmp)
        left |= {
            guest.key for guest in guests if guest.key not in there and uri_of(guest.key) not in new.libvirt
        }
    return frozenset(left)


def left_small(handed_back: Sequence[SetTarget], silent: Collection[str]) -> str | None:
    """Who of those that memory was handed back to is among the `silent` keys, in a sentence; None: nobody."""
    names = [order.guest for order in handed_back if order.key in silent]
    if not names:
        return None
    return (
        f"{len(names)} of {len(handed_back)} guests did not say in time that they have their memory back "
        f"({names_text(names, MOST_NAMED)}): they may keep the size they have; "
        "start the daemon again, or set their size by hand"
    )
