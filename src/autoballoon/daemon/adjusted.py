"""Bounds that somebody set while the daemon runs: they last until it ends, and go before the configuration."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from autoballoon.core.errors import BadInput
from autoballoon.core.model import Guest
from autoballoon.core.units import PAGE, page_floor, size_text
from autoballoon.daemon.bounds import compile_bounds
from autoballoon.daemon.protocol import Refused

MOST = 10_000


class Adjusted:
    """By the guests' keys."""

    def __init__(self) -> None:
        self._sets: dict[str, dict[str, Any]] = {}
        self._written: dict[str, dict[str, str | int]] = {}

    def applied(self, guest: Guest) -> Guest:
        """The guest with the bounds that were set."""
        sets = self._sets.get(guest.key)
        return guest if sets is None else _with(guest, sets)

    def adjust(self, guest: Guest, written: Mapping[str, str | int]) -> str:
        """Set these bounds, written as in the configuration; the lines that would make them last. Refused if bad."""
        if guest.key not in self._sets and len(self._sets) >= MOST:
            raise Refused(
                "too-many", f"the bounds of {MOST} guests were set already; write them into the file"
            )
        if len(guest.name) > 200:
            raise Refused("bad-args", "set: the guest's name is too long for a table of the configuration")
        try:
            given = compile_bounds(dict(written), f"set {guest.name}:")
        except BadInput as error:
            raise Refused("bad-args", str(error)) from None
        sets = self._sets.get(guest.key, {}) | given
        _check(guest, given)
        self._sets[guest.key] = sets
        self._written[guest.key] = self._written.get(guest.key, {}) | dict(written)
        return _lines(guest, self._written[guest.key])


def _with(guest: Guest, sets: Mapping[str, Any]) -> Guest:
    floor, ceiling = guest.floor, guest.top
    if "ceiling" in sets:
        ceiling = min(max(page_floor(sets["ceiling"].of(guest.max)), PAGE), guest.max)
    if "floor" in sets:
        floor = min(page_floor(sets["floor"].of(guest.max)), guest.max)
    shares = sets.get("shares", guest.shares)
    return msgspec.structs.replace(guest, floor=min(floor, ceiling), ceiling=ceiling, shares=shares)


def _check(guest: Guest, given: Mapping[str, Any]) -> None:
    """Refuse what does not fit this guest's RAM, or the other bound."""
    for name in ("floor", "ceiling"):
        if name in given and given[name].of(guest.max) > guest.max:
            raise Refused(
                "bad-args",
                f"set {guest.name}: {name} {given[name]} is more than its RAM of {size_text(guest.max)}",
            )
    floor = given["floor"].of(guest.max) if "floor" in given else guest.floor
    ceiling = given["ceiling"].of(guest.max) if "ceiling" in given else guest.top
    if floor > ceiling:
        raise Refused(
            "bad-args",
            f"set {guest.name}: its floor of {size_text(floor)} would be above its ceiling of {size_text(ceiling)}; "
            "lower the floor or raise the ceiling",
        )


def _lines(guest: Guest, written: Mapping[str, str | int]) -> str:
    """A table of the configuration; characters that are more than themselves in a glob stand in brackets."""
    name = guest.name.removesuffix(f"@{guest.key}")
    glob = "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)
    keys = [f"{key} = {json.dumps(value)}" for key, value in written.items()]
    return "\n".join([f"[guests.{json.dumps(glob)}]", *keys])
