"""Scenarios: what a file says, checked as a whole; and where the scenarios are."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from autoballoon.core.errors import BadInput
from autoballoon.core.units import Portion, parse_portion
from autoballoon.sim.characters import Character
from autoballoon.sim.checks import Must
from autoballoon.sim.course import Seconds, read_quantity
from autoballoon.sim.happenings import Happening
from autoballoon.sim.host import HostSpec

FOLDER = Path(__file__).parent / "scenarios"
LONGEST = 1 << 20
"""Bytes of a scenario file."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One world, how long it lasts, and what must hold in it."""

    says: str
    """In plain words."""
    duration: Seconds
    step: Seconds = Seconds(0.05)
    """Of the world; a coarser one is cheaper, and cannot show what happens within it."""
    host: HostSpec
    guests: list[Character]
    happens: list[Happening] = []
    must: list[Must] = []
    switches: dict[str, str] = {}
    """Safeguards without which some `must` fails, each with the reason."""


def names() -> list[str]:
    """The names of the scenarios that come with autoballoon."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Scenario:
    """The scenario of that name, or in the file of that path (one that ends in .toml). BadInput says what is wrong."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not name.endswith(".toml") and name not in names():
        raise BadInput(f"there is no scenario {name[:60]!r}; `autoballoon sim list` names them")
    try:
        with path.open("rb") as file:
            raw = file.read(LONGEST + 1)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); name an existing file") from None
    if len(raw) > LONGEST:
        raise BadInput(f"{path}: is larger than 1 MiB; this is no scenario")
    try:
        return parse(raw.decode())
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not UTF-8 text; write it as TOML") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def parse(text: str) -> Scenario:
    """The scenario in `text`. BadInput names the key that cannot be used."""
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadInput(f"is not TOML: {' '.join(str(error).split())[:200]}") from None
    _fill_in(tables)
    try:
        scenario = msgspec.convert(tables, Scenario, dec_hook=_hook)
    except msgspec.ValidationError as error:
        raise BadInput(_place(str(error))) from None
    _check(scenario)
    return scenario


def _hook(kind: type, value: Any) -> Any:
    return read_quantity(kind, value)


def _fill_in(tables: dict[str, Any]) -> None:
    """What may be written shorter: an honest guest, a steady need as a size, points as a list, parts as "5%"."""
    host = tables.get("host")
    if isinstance(host, dict):
        _fill_in_table(host, "own", ("reserve",))
    guests = tables.get("guests")
    for guest in guests if isinstance(guests, list) else ():
        if isinstance(guest, dict):
            guest.setdefault("character", "honest")
            _fill_in_table(guest, "need", ("floor", "ceiling"))


def _fill_in_table(table: dict[str, Any], shape: str, portions: tuple[str, ...]) -> None:
    value = table.get(shape)
    if isinstance(value, str):
        table[shape] = {"shape": "steady", "size": value}
    elif isinstance(value, list):
        table[shape] = {"shape": "points", "points": value}
    for key in portions:
        if isinstance(table.get(key), str):
            table[key] = _portion(table[key])


def _portion(text: str) -> dict[str, Any]:
    portion: Portion = parse_portion(text)
    return {"amount": portion.amount} if portion.amount is not None else {"share": portion.share}


def _place(text: str) -> str:
    """msgspec's sentence with the place first: "guests[0].max: ..."."""
    says, _, where = text.partition(" - at `$")
    where = where.rstrip("`").lstrip(".")
    return f"{where}: {says}" if where else says


def _check(scenario: Scenario) -> None:
    """What types cannot say."""
    if scenario.duration <= 0 or scenario.duration > 86400:
        raise BadInput("duration: must lie between 0 and 24h")
    if not 0.01 <= scenario.step <= 1.0:
        raise BadInput('step: must lie between "10ms" and "1s"')
    named: set[str] = set()
    for n, group in enumerate(scenario.guests):
        if not 1 <= group.count <= 1000:
            raise BadInput(f"guests[{n}].count: must lie between 1 and 1000")
        if group.max < 16 << 20:
            raise BadInput(f'guests[{n}].max: is too small for any guest; give at least "16MiB"')
        if group.pass_ <= 0 or group.warm_pass <= 0 or group.disk <= 0:
            raise BadInput(f"guests[{n}]: pass, warm_pass and disk must be above zero")
        if group.warm > group.files:
            raise BadInput(f"guests[{n}].warm: is part of `files`, and larger; raise files")
        if named & set(group.names()):
            raise BadInput(f"guests[{n}].name: {group.name!r} is taken already; names are used once")
        named |= set(group.names())
