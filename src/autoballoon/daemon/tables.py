"""TOML as it is written: a file read within bounds, a table taken whole or refused in one sentence with the mend."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from autoballoon.core.errors import BadInput

LONGEST_CONFIG = 1 << 20
"""Bytes; a larger file is no configuration of ours."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table as written; text is compiled afterwards."""


Read = TypeVar("Read")


def load_toml(path: Path, parse: Callable[[str], Read], what: str, *, longest: int = LONGEST_CONFIG) -> Read:
    """What `parse` makes of the file at `path`: bounded, UTF-8, every BadInput with the path in front.

    `what` names what the file should be, which has `longest` bytes at most.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(longest + 1)
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror}); name an existing file that you may read"
        ) from None
    if len(raw) > longest:
        raise BadInput(f"{path}: is larger than {longest >> 20} MiB; this is no {what}")
    try:
        return parse(raw.decode())
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not UTF-8 text; write it as TOML") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def tables_of(text: str) -> dict[str, Any]:
    """The tables of the TOML in `text`. BadInput when it is none."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadInput(f"is not TOML: {' '.join(str(error).split())[:200]}") from None
    except ValueError:  # sys.set_int_max_str_digits()
        raise BadInput("holds a number of thousands of digits; write one of at most 64 bits") from None


_WRITTEN = {
    "str": "text in quotes",
    "bool": "true or false",
    "int": "a whole number",
    "array": "a list: [...]",
}


T = TypeVar("T", bound=Table)


def read_table(kind: type[T], tables: Mapping[str, Any], name: str) -> T:
    """The table `name`, or its defaults where it is not there. BadInput as for `decode`."""
    return decode(kind, tables.get(name, {}), f"[{name}]")


def decode(kind: type[T], raw: Any, place: str) -> T:
    """What is written at `place`. BadInput for a key that is not known or a value of another kind."""
    if not isinstance(raw, dict):
        raise BadInput(f"{place} must be a table; write {place} on a line of its own")
    for key in raw:
        if key not in kind.__struct_fields__:
            raise BadInput(
                f"{place} has no key {key[:40]!r}; its keys are {', '.join(kind.__struct_fields__)}"
            )
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        wanted = what.removeprefix("Expected `").partition("`")[0].partition(" ")[0]
        raise BadInput(f"{place} {where.strip('`.')}: must be {_WRITTEN.get(wanted, wanted)}") from None


def at(place: str, error: BadInput) -> BadInput:
    """The same error with the place in front."""
    return BadInput(f"{place}: {error}")
