"""What the operator allows each guest: [defaults] and [guests."GLOB"] of the configuration."""

from collections.abc import Mapping
from typing import Any

import msgspec

from autoballoon.core.errors import BadInput
from autoballoon.core.units import PAGE, Portion, page_floor, parse_portion
from autoballoon.daemon.tables import Table, at, decode


class BoundsTable(Table, frozen=True):
    """Bounds as written."""

    floor: str | None = None
    ceiling: str | None = None
    headroom: str | None = None
    shares: int | None = None
    may_suspend: bool | None = None
    manage: bool | None = None


class Bounds(msgspec.Struct, frozen=True):
    """What the operator allows one guest; floor, ceiling and headroom are of its configured RAM."""

    floor: Portion = Portion(share=0.25)
    ceiling: Portion = Portion(share=1.0)
    headroom: Portion = Portion(share=0.25)
    """The most of it, whatever the guest reports and however it has fought."""
    shares: int = 1000
    manage: bool = True
    may_suspend: bool = False

    def within(self, ram: int, wanted: int = 0) -> tuple[int, int, bool]:
        """(floor, ceiling, fits) in bytes with `ram` bytes of RAM; a floor that does not fit is lowered.

        `wanted` is the size that the guest's own configuration gives it (libvirt's <currentMemory>), 0 for none: a
        ceiling too.
        """
        ceiling = min(max(page_floor(min(self.ceiling.of(ram), wanted or ram)), PAGE), ram)
        floor = min(page_floor(self.floor.of(ram)), ram)
        return min(floor, ceiling), ceiling, floor <= ceiling


class Rule(msgspec.Struct, frozen=True):
    """The keys that one table sets for the guests that its glob matches."""

    glob: str
    sets: dict[str, Any]


def rules_of(tables: Mapping[str, Any]) -> tuple[Rule, ...]:
    """[defaults] for every guest, then each [guests."GLOB"] in file order."""
    guests = tables.get("guests", {})
    if not isinstance(guests, dict):
        raise BadInput('[guests] must hold tables; write [guests."GLOB"]')
    defaults = compile_bounds(tables.get("defaults", {}), "[defaults]")
    rules = [Rule("*", defaults)]
    for glob, raw in guests.items():
        place = f'[guests."{glob[:40]}"]'
        sets = compile_bounds(raw, place)
        _refuse_crossed(Bounds(**(defaults | sets)), place)
        rules.append(Rule(glob, sets))
    _refuse_crossed(Bounds(**defaults), "[defaults]")
    return tuple(rules)


def compile_bounds(raw: Any, place: str) -> dict[str, Any]:
    """The fields of Bounds that are set at `place`. BadInput when one cannot be used."""
    table = decode(BoundsTable, raw, place)
    sets: dict[str, Any] = {}
    for key in ("floor", "ceiling", "headroom"):
        text = getattr(table, key)
        if text is not None:
            try:
                sets[key] = parse_portion(text)
            except BadInput as error:
                raise at(f"{place} {key}", error) from None
    if "ceiling" in sets and sets["ceiling"].of(1 << 40) <= 0:
        raise BadInput(
            f"{place} ceiling must be more than nothing; to leave a guest alone write manage = false"
        )
    if table.shares is not None:
        if not 1 <= table.shares <= 1_000_000:
            raise BadInput(f"{place} shares must lie between 1 and 1000000; the default is 1000")
        sets["shares"] = table.shares
    for key in ("manage", "may_suspend"):
        if getattr(table, key) is not None:
            sets[key] = getattr(table, key)
    return sets


def _refuse_crossed(bounds: Bounds, place: str) -> None:
    """Refuse a floor above its ceiling where both are sizes, or both shares; else only RAM can tell."""
    floor, ceiling = bounds.floor, bounds.ceiling
    crossed = (floor.amount is not None and ceiling.amount is not None and floor.amount > ceiling.amount) or (
        floor.share is not None and ceiling.share is not None and floor.share > ceiling.share
    )
    if crossed:
        raise BadInput(
            f"{place} floor {floor} is above ceiling {ceiling}; lower the floor or raise the ceiling"
        )
