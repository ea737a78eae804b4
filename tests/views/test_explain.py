"""`explain` for people: times, moves, spells of staying, orders."""

import msgspec

from autoballoon.core.model import Reason, SetTarget, Stay, Suspend
from autoballoon.core.units import MIB
from autoballoon.views.explain import OUTCOME, Entry, Explained, decode, lines

MOVE = SetTarget("k", "web", Reason.NEED, {"need": 200 * MIB}, before=100 * MIB, size=200 * MIB)
ENTRIES = (
    Entry.of_order("web", "hold web", 5.0),
    Entry.of_order("", "room 16 MiB: it is there", 6.0, OUTCOME),
    Entry.of_decision(MOVE, 10.0, 10.0, 1),
    Entry.of_decision(Stay("k", "web", Reason.HELD, {}, size=200 * MIB), 11.0, 25.0, 15),
    Entry.of_decision(Suspend("k", "web", Reason.OVERLOAD, {}), 26.0, 26.0, 1),
)


def clock(at_s: float) -> str:
    return f"{at_s:02.0f}s"


def test_a_line_for_each_entry() -> None:
    assert lines(Explained(ENTRIES), clock) == [
        "05s  asked for: hold web",
        "06s  room 16 MiB: it is there",
        "10s  web: 100 -> 200 MiB: it runs short, so it gets 100 MiB (need 200 MiB)",
        "11s to 25s  web: stays at 200 MiB: the operator holds it, and it is not made smaller [15 ticks]",
        "26s  web: stopped: needs exceed what the host has, so it waits and others run",
    ]


def test_dry_run_first_and_what_is_left_out() -> None:
    told = lines(Explained((), left_out=5, dry_run=True), clock)
    assert told[0] == "DRY RUN: nothing is moved"
    assert told[1].startswith("5 older entries are left out")
    assert told[2] == "nothing was decided in that time"


def test_the_json_has_the_promised_shape() -> None:
    raw = msgspec.json.encode(Explained(ENTRIES, now_s=30.0))
    assert decode(raw).entries == ENTRIES
    entry = msgspec.json.decode(raw)["entries"][2]
    assert list(entry) == [
        *("guest", "from_s", "to_s", "ticks", "kind", "from", "to", "reason", "numbers", "says"),
    ]
