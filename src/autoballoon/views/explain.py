"""What was decided over time, and why: the JSON of `explain`, and the same for people."""

from collections.abc import Callable, Mapping

import msgspec

from autoballoon.core.model import Decision, SetTarget, Stay
from autoballoon.views.sentences import sentence

ORDER = "order"
"""The kind of an entry that says what somebody asked for."""
OUTCOME = "outcome"
"""... and of one that says what became of it."""


class Entry(msgspec.Struct, frozen=True):
    """One move, a time in which a guest stayed for one reason, or what somebody asked for."""

    guest: str
    """Its name; empty when an order concerns all."""
    from_s: float
    """When it was decided, or first decided; seconds since 1970, as the wall clock is now."""
    to_s: float
    """When it was last decided."""
    ticks: int
    """How often."""
    kind: str
    before: int | None = msgspec.field(name="from", default=None)
    size: int | None = msgspec.field(name="to", default=None)
    reason: str = ""
    numbers: Mapping[str, int | float] = {}
    """Of the last time."""
    says: str = ""

    @classmethod
    def of_decision(cls, decision: Decision, from_s: float, to_s: float, ticks: int) -> "Entry":
        """The entry that tells this."""
        before = size = None
        if isinstance(decision, SetTarget):
            before, size = decision.before, decision.size
        elif isinstance(decision, Stay):
            before = size = decision.size
        kind = str(decision.__struct_config__.tag)
        return cls(
            *(decision.guest, round(from_s, 3), round(to_s, 3), ticks, kind, before, size),
            *(decision.reason.value, decision.numbers, sentence(decision)),
        )

    @classmethod
    def of_order(cls, guest: str, says: str, at_s: float, kind: str = ORDER) -> "Entry":
        """The entry that tells what somebody asked for, or what became of it."""
        return cls(guest, round(at_s, 3), round(at_s, 3), 1, kind, says=says)


class Explained(msgspec.Struct, frozen=True):
    """What `explain --json` prints."""

    entries: tuple[Entry, ...]
    """In order of time."""
    left_out: int = 0
    """Older entries that did not fit into one answer."""
    now_s: float = 0.0
    """When this was told, seconds since 1970."""
    dry_run: bool = False


def decode(raw: bytes | msgspec.Raw) -> Explained:
    """The answer in `raw`, unknown fields ignored; msgspec.DecodeError when it is none."""
    return msgspec.json.decode(raw, type=Explained)


def lines(explained: Explained, clock: Callable[[float], str]) -> list[str]:
    """A line for each entry; `clock` makes text of seconds since 1970."""
    told = ["DRY RUN: nothing is moved"] if explained.dry_run else []
    if explained.left_out:
        told.append(
            f"{explained.left_out} older entries are left out; name a guest, or give a shorter --since"
        )
    if not explained.entries:
        return [*told, "nothing was decided in that time"]
    return told + [f"{_when(one, clock)}  {_what(one)}" for one in explained.entries]


def _when(entry: Entry, clock: Callable[[float], str]) -> str:
    begin, end = clock(entry.from_s), clock(entry.to_s)
    return begin if begin == end else f"{begin} to {end}"


def _what(entry: Entry) -> str:
    if entry.kind == ORDER:
        return f"asked for: {entry.says}"
    times = f" [{entry.ticks} ticks]" if entry.ticks > 1 else ""
    return f"{entry.says}{times}"
