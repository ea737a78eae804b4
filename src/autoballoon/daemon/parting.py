"""Whom a new configuration leaves alone."""

from collections.abc import Sequence

from autoballoon.core.model import Guest
from autoballoon.daemon.config import Config
from autoballoon.guests.libvirt_uri import uri_of
from autoballoon.guests.sockets import sockets


def left_alone(old: Config, new: Config, guests: Sequence[Guest]) -> frozenset[str]:
    """Keys of those of the `guests`, seen and managed under `old`, that are not under `new`."""
    left = {guest.key for guest in guests if guest.managed and not new.bounds(guest.name).manage}
    if (new.qmp, new.libvirt) != (old.qmp, old.libvirt):
        there = sockets(new.qmp)
        left |= {
            guest.key for guest in guests if guest.key not in there and uri_of(guest.key) not in new.libvirt
        }
    return frozenset(left)
