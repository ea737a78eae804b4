"""A snapshot that somebody wrote or kept as JSON: checked whole, field by field, before the engine sees it.

It is what `status --json` prints under `snapshot`; a whole status will do. What is left out is filled in: `key` is
the name, `resident` the size, `age_s` 0; every other field is as in model.py. `null` is unknown, never 0. Every
refusal is one sentence that names the field.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from autoballoon.core.errors import BadInput
from autoballoon.core.model import Guest, Host, Snapshot, told_apart

MOST_GUESTS = 100_000
LARGEST_SIZE = 1 << 60
"""Bytes, exclusive: what is larger is a slip of the pen."""
LARGEST_COUNT = 1 << 64
"""Exclusive: a guest's counters have 64 bits (virtio 1.2, section 5.5.6.4)."""
LONGEST_TIME_S = 1e10
"""Three centuries; a monotonic clock's float still tells milliseconds apart."""
MOST_SHARES = 1_000_000
"""As in the configuration; 0 is allowed here because Proxmox has a meaning for it."""
LONGEST_TEXT = 4096
"""Characters of a name or key: a key may be a path (PATH_MAX of linux/limits.h)."""

_SIZES = {
    *("capacity", "available", "promised", "max", "actual", "floor", "ceiling", "headroom", "total", "free"),
    "caches",
    *("resident", "huge", "swapped", "overhead", "swap_total", "swap_used"),
}
_SHAPE = "an object with `host` and `guests`, as `autoballoon status --json` prints under `snapshot`"
_KINDS = {"str": "text", "bool": "true or false", "int": "a whole number", "float": "a number"}

Part = TypeVar("Part", Host, Guest)


class Given(msgspec.Struct, frozen=True):
    """A snapshot that can be used, and the fields beside it that this version does not know and passed over."""

    snapshot: Snapshot
    unknown: tuple[str, ...] = ()


def read_snapshot(raw: bytes) -> Given:
    """The snapshot in `raw`. BadInput, naming the field, when any part of it cannot be used."""
    fields, place = _outermost(raw)
    for name in ("host", "guests"):
        if name not in fields:
            raise BadInput(f"{place}{name} is missing; give {_SHAPE}")
    host = _part(fields["host"], Host, f"{place}host")
    _check_host(host, f"{place}host")
    if not isinstance(fields["guests"], list):
        raise BadInput(f"{place}guests must be a list of objects")
    if len(fields["guests"]) > MOST_GUESTS:
        raise BadInput(f"{place}guests holds {len(fields['guests'])} guests; {MOST_GUESTS} are the most")
    guests = [_guest(one, f"{place}guests[{n}]") for n, one in enumerate(fields["guests"])]
    _refuse_twice((guest.key for guest in guests), place, "key", "has a key of its own")
    guests = told_apart(guests)
    _refuse_twice((guest.name for guest in guests), place, "name", "can be told apart")
    return Given(Snapshot(host, tuple(guests)), tuple(_unknown(fields, place)))


def _outermost(raw: bytes) -> tuple[dict[str, Any], str]:
    """The fields of the snapshot, and where they stand."""
    try:
        document = msgspec.json.decode(raw.decode())
    except UnicodeDecodeError:
        raise BadInput(f"is not UTF-8 text; give JSON: {_SHAPE}") from None
    except RecursionError:
        raise BadInput(f"is nested too deeply; give {_SHAPE}") from None
    except msgspec.DecodeError as error:
        raise BadInput(f"is not JSON ({error}); give {_SHAPE}") from None
    if not isinstance(document, dict):
        raise BadInput(f"holds no snapshot; give {_SHAPE}")
    if "snapshot" not in document or "host" in document:
        return document, ""
    if not isinstance(document["snapshot"], dict):
        raise BadInput(f"snapshot must be {_SHAPE}")
    return document["snapshot"], "snapshot."


def _guest(raw: Any, place: str) -> Guest:
    guest = _part({"key": "-"} | raw if isinstance(raw, dict) else raw, Guest, place)
    left_out = {"key": guest.name, "resident": guest.actual, "age_s": 0.0}
    guest = msgspec.structs.replace(guest, **{name: left_out[name] for name in left_out if name not in raw})
    if guest.max == 0:
        raise BadInput(f"{place}.max is 0; give the guest's RAM in bytes")
    if guest.actual > guest.max:
        raise BadInput(f"{place}.actual ({guest.actual}) is above its max ({guest.max}); correct one of them")
    if guest.floor > guest.top:
        raise BadInput(f"{place}.floor ({guest.floor}) is above its ceiling ({guest.top}); lower the floor")
    if guest.shares > MOST_SHARES:
        raise BadInput(f"{place}.shares ({guest.shares}) is above {MOST_SHARES}; the default is 1000")
    return guest


def _check_host(host: Host, place: str) -> None:
    if host.capacity == 0:
        raise BadInput(f"{place}.capacity is 0; give the host's memory in bytes")
    if host.available > host.capacity:
        raise BadInput(
            f"{place}.available ({host.available}) is above {place}.capacity ({host.capacity}); correct one of them"
        )


def _part(raw: Any, kind: type[Part], place: str) -> Part:
    """One host or guest, its types and ranges checked."""
    if not isinstance(raw, dict):
        raise BadInput(f"{place} must be an object")
    try:
        part = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"{place}{_what_is_wrong(str(error))}") from None
    for name in kind.__struct_fields__:
        value = getattr(part, name)
        if value is not None and not isinstance(value, bool):
            _check_range(value, name, f"{place}.{name}")
    return part


def _what_is_wrong(error: str) -> str:
    """msgspec's message in our words: ".actual must be a whole number", or " has no `name`"."""
    what, _, where = error.partition(" - at `$")
    if what.startswith("Object missing required field "):
        return f" has no {what.removeprefix('Object missing required field ')}, which every one must have"
    if not what.startswith("Expected `"):
        return f"{where.strip('`')} cannot be used ({what.lower()})"
    wanted = what.removeprefix("Expected `").partition("`")[0].split(" | ")
    told = " or ".join(_KINDS.get(kind, kind) for kind in wanted)
    return f"{where.strip('`')} must be {told}"


def _check_range(value: int | float | str, name: str, place: str) -> None:
    if isinstance(value, str):
        if not value or len(value) > LONGEST_TEXT or not value.isprintable():
            raise BadInput(f"{place} must be printable text of 1 to {LONGEST_TEXT} characters")
    elif isinstance(value, float):
        if not 0 <= value <= LONGEST_TIME_S:
            raise BadInput(f"{place} must be a number of seconds from 0 to {LONGEST_TIME_S:.0f}")
    elif name in _SIZES and not 0 <= value < LARGEST_SIZE:
        raise BadInput(f"{place} must be a number of bytes from 0 to less than 2^60")
    elif not 0 <= value < LARGEST_COUNT:
        raise BadInput(f"{place} must be a whole number from 0 to less than 2^64")


def _refuse_twice(values: Iterable[str], place: str, field: str, mend: str) -> None:
    seen: dict[str, int] = {}
    for number, value in enumerate(values):
        first = seen.setdefault(value, number)
        if first != number:
            raise BadInput(
                f"{place}guests[{number}].{field} {value[:80]!r} is that of guests[{first}] too; "
                f"see that each guest {mend}"
            )


def _unknown(fields: dict[str, Any], place: str) -> Iterable[str]:
    """Each unknown field once: `guests[].colour` for all guests."""
    known = {"host": set(Host.__struct_fields__), "guests[]": set(Guest.__struct_fields__)}
    found = {f"{place}{name}": None for name in fields if name not in Snapshot.__struct_fields__}
    parts = [("host", fields["host"]), *(("guests[]", guest) for guest in fields["guests"])]
    for where, part in parts:
        found |= {f"{place}{where}.{name}": None for name in part if name not in known[where]}
    return found
