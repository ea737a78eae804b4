"""What a replay came to, counted and told."""

import msgspec

from autoballoon.core.model import Reason, SetTarget, Stay
from autoballoon.core.units import MIB
from autoballoon.views.replay import MOST_KEPT, MOST_SHOWN, Summary, text

STAY = Stay("k", "web", Reason.SETTLED, {}, size=300 * MIB)
TAKE = SetTarget("k", "web", Reason.TAKE_SURPLUS, {}, before=300 * MIB, size=200 * MIB)


def clock(at_s: float) -> str:
    return f"{at_s:.0f}"


def test_alike_other_and_other_reason() -> None:
    summary = Summary("r.gz", "ladder", "mom")
    summary.add(10.0, [STAY], [STAY])
    summary.add(11.0, [STAY], [TAKE])
    summary.add(12.0, [STAY], [msgspec.structs.replace(STAY, reason=Reason.SMALL)])
    assert (summary.compared, summary.otherwise, summary.other_reason) == (3, 1, 1)
    assert (summary.recorded.moves, summary.replayed.moves, summary.replayed.taken) == (0, 1, 100 * MIB)
    assert summary.reasons == {"settled -> take-surplus": 1, "settled -> small": 1}
    told = text(summary, clock)
    assert told.startswith("r.gz: 3 ticks, 10 to 12, recorded with policy ladder, replayed with mom\n")
    assert "3 decisions: 1 alike, 1 other, 1 alike for another reason" in told
    assert "11  web\n    was:   stays at 300 MiB: it has what it should have\n" in told


def test_differences_that_are_not_shown_are_all_in_the_json() -> None:
    summary = Summary("r.gz", "ladder", "mom")
    for at in range(MOST_SHOWN + 5):
        summary.add(float(at), [STAY], [TAKE])
    assert text(summary, clock).endswith("\nand 5 more; --json prints all of them")


def test_differences_are_bounded() -> None:
    summary = Summary("r.gz", "ladder", "mom", cut_off="its end is missing")
    for at in range(MOST_KEPT + 50):
        summary.add(float(at), [STAY], [TAKE])
    assert (len(summary.differences), summary.left_out) == (MOST_KEPT, 50)
    told = text(summary, clock)
    assert f"and {MOST_KEPT + 50 - MOST_SHOWN} more; --json prints the first {MOST_KEPT}" in told
    assert "not all of it was read: its end is missing" in told
