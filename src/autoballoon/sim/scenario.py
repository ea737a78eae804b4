"""Scenarios: what a file says, checked as a whole; and where the scenarios are."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec

from autoballoon.core.errors import BadInput
from autoballoon.core.units import MIB, parse_portion
from autoballoon.daemon.tables import load_toml, tables_of
from autoballoon.sim.characters import Character
from autoballoon.sim.check import OfGuests
from autoballoon.sim.checks import Must
from autoballoon.sim.checks_guest import NoGuestBelowFairShare, SatisfiedWithin
from autoballoon.sim.checks_host import ReserveBackWithin, RoomThereWithin
from autoballoon.sim.checks_size import MovesAtMost, ReachesSizeBy, ShrinksAtMost, StaysWithin
from autoballoon.sim.course import Points, Seconds, Shape, read_quantity
from autoballoon.sim.happenings import Happening, ToGuest
from autoballoon.sim.host import HostSpec
from autoballoon.sim.safeguards import SAFEGUARDS

LONGEST_FILE = 16 << 20
"""Bytes: a need may be a trace, of MOST_CORNERS lines of some 30 bytes each, and there may be several."""
FOLDER = Path(__file__).parent / "scenarios"
LONGEST_S = 86400.0
MOST_STEPS = 10_000_000
"""Steps of guests: a million takes about ten seconds."""
MOST_CORNERS = 100_000
"""Of one shape: more than one for each step of the longest scenario tells nothing more."""


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
    return load_toml(path, parse, "scenario", longest=LONGEST_FILE)


def parse(text: str) -> Scenario:
    """The scenario in `text`. BadInput names the key that cannot be used."""
    tables = tables_of(text)
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
        _fill_in_table("host", host, "own", ("reserve",))
    guests = tables.get("guests")
    for n, guest in enumerate(guests if isinstance(guests, list) else ()):
        if isinstance(guest, dict):
            guest.setdefault("character", "honest")
            _fill_in_table(f"guests[{n}]", guest, "need", ("floor", "ceiling", "headroom"))


def _fill_in_table(place: str, table: dict[str, Any], shape: str, portions: tuple[str, ...]) -> None:
    value = table.get(shape)
    if isinstance(value, str | int | float):
        table[shape] = {"shape": "steady", "size": value}
    elif isinstance(value, list):
        table[shape] = {"shape": "points", "points": value}
    for key in portions:
        value = table.get(key)
        if isinstance(value, int | float):
            raise BadInput(f"{place}.{key}: {value} has no unit; write it like '5%' or '512MiB'")
        if isinstance(value, str):
            try:
                portion = parse_portion(value)
            except BadInput as error:
                raise BadInput(f"{place}.{key}: {error}") from None
            table[key] = msgspec.to_builtins(portion)


_KINDS = {"character": Character, "shape": Shape, "what": Happening, "check": Must}


def _place(text: str) -> str:
    """msgspec's sentence with the place first: "guests[0].max: ..."; and with the kinds that are known."""
    says, _, where = text.partition(" - at `$")
    where = where.rstrip("`").lstrip(".")
    kinds = _KINDS.get(where.rpartition(".")[2])
    if kinds is not None and says.startswith("Invalid value"):
        says += f"; those known are {', '.join(kind.__struct_config__.tag for kind in get_args(kinds))}"
    return f"{where}: {says}" if where else says


def _check(scenario: Scenario) -> None:
    """What types cannot say."""
    duration = float(scenario.duration)
    _need(0 < duration <= LONGEST_S, "duration", "must lie between 0 and 24h")
    _need(0.01 <= scenario.step <= 1.0, "step", 'must lie between "10ms" and "1s"')
    work = duration / scenario.step * sum(group.count for group in scenario.guests)
    _need(work <= MOST_STEPS, "step", "so many guests in so many steps take hours; make it coarser")
    host = scenario.host
    _need(host.ram >= 64 * MIB, "host.ram", 'must be at least "64MiB"')
    _need(host.swap_rate >= MIB, "host.swap_rate", 'must be at least "1MiB"')
    _check_shape("host.own", host.own, duration)
    spans: dict[str, tuple[float, float]] = {}
    for n, group in enumerate(scenario.guests):
        _check_group(f"guests[{n}]", group, duration)
        for number, name in enumerate(group.names()):
            _need(name not in spans, f"guests[{n}].name", f"{name!r} is taken already; a name is used once")
            spans[name] = (group.begins(number) or 0.0, group.ends or math.inf)
    for n, happening in enumerate(scenario.happens):
        _check_happening(f"happens[{n}]", happening, spans, duration)
    for n, must in enumerate(scenario.must):
        _check_must(f"must[{n}]", must, spans, duration)
    for switch in scenario.switches:
        known = ", ".join(SAFEGUARDS)
        _need(switch in SAFEGUARDS, "switches", f"there is no safeguard {switch[:40]!r}; they are {known}")


_TOO_LATE = "lies beyond the duration; make the scenario longer"


def _check_happening(
    place: str, happening: Happening, spans: Mapping[str, tuple[float, float]], duration: float
) -> None:
    """What would befall nobody; `spans` are the times in which guests are there."""
    guest = getattr(happening, "guest", None)
    _need(happening.at <= duration, f"{place}.at", _TOO_LATE)
    _need(guest is None or guest in spans, f"{place}.guest", f"there is no guest {guest!r}")
    if isinstance(happening, ToGuest):
        begins, ends = spans[happening.guest]
        is_there = begins <= happening.at < ends
        _need(is_there, f"{place}.at", f"{guest!r} is not there then; see when it `starts` and `ends`")


def _check_must(place: str, must: Must, names: Iterable[str], duration: float) -> None:
    """What would never be looked at, or could never fail."""
    if isinstance(must, OfGuests):
        _need(any(map(must.names, names)), f"{place}.guest", f"no guest matches {must.guest!r}")
    _need(must.after < duration, f"{place}.after", _TOO_LATE)
    if isinstance(
        must, ReserveBackWithin | RoomThereWithin | ReachesSizeBy | SatisfiedWithin | NoGuestBelowFairShare
    ):
        _need(must.after + must.seconds < duration, f"{place}.seconds", _TOO_LATE)
    if isinstance(must, MovesAtMost):
        _need(must.moves >= 0, f"{place}.moves", "must not be negative; 0 is at rest")
    if isinstance(must, StaysWithin):
        _need(must.least <= must.most, f"{place}.least", "is above `most`; exchange them")
    if isinstance(must, ShrinksAtMost):
        _need(must.seconds > 0, f"{place}.seconds", "must be above 0; a move is seen over some time")
        _need(0 <= must.part < 1, f"{place}.part", "must lie between 0 and 1; nobody can shrink by more")


def _check_group(place: str, group: Character, duration: float) -> None:
    _need(1 <= group.count <= 10_000, f"{place}.count", "must lie between 1 and 10000")
    _need(group.max >= 16 * MIB, f"{place}.max", 'must be at least "16MiB"')
    _need(not group.stagger or group.starts is not None, f"{place}.stagger", "goes with `starts`; add that")
    begins_full = group.size is None or group.starts is None
    _need(
        begins_full,
        f"{place}.size",
        "means nothing for one that `starts`: it boots with all of `max`; remove it",
    )
    _need(group.shares >= 1, f"{place}.shares", "must be at least 1")
    _need(1 <= group.cpus <= 4096, f"{place}.cpus", "must lie between 1 and 4096")
    _need(0 <= group.jitter < 1, f"{place}.jitter", "must lie between 0 and 1")
    for key, seconds in (("pass", group.pass_), ("warm_pass", group.warm_pass)):
        _need(seconds >= 0.01, f"{place}.{key}", 'must be at least "10ms"')
    for key in ("disk", "read", "touch", "inflate", "deflate"):
        _need(getattr(group, key) >= MIB, f"{place}.{key}", 'must be at least "1MiB" a second')
    _need(group.warm <= group.files, f"{place}.warm", "is part of `files`, and larger; raise `files`")
    every = getattr(group, "every", None)
    _need(every is None or every >= 0.1, f"{place}.every", 'must be at least "100ms"')
    _check_shape(f"{place}.need", group.need, duration)


def _check_shape(place: str, shape: Shape, duration: float) -> None:
    every = getattr(shape, "every", getattr(shape, "day", None))
    _need(
        every is None or every >= duration / MOST_CORNERS, place, "repeats too often; give it a longer period"
    )
    if isinstance(shape, Points):
        _need(bool(shape.points), f"{place}.points", "must not be empty")
        times = [at for at, _ in shape.points]
        _need(times == sorted(times), f"{place}.points", "must be in order of time")


def _need(holds: bool, place: str, says: str) -> None:
    if not holds:
        raise BadInput(f"{place}: {says}")
