"""How much room nobody has wanted for a while: the longer it is known, the further back is looked."""

from autoballoon.core.lull import FIRST_S, LEFT_S, SPAN_S, Lull, follow
from autoballoon.core.units import MIB


def after(seconds: int, taken_at: int | None = None, lull: Lull | None = None, left_at: int = -1) -> int:
    """MiB that are idle after so many seconds with 500 MiB free, of which at `taken_at` 400 MiB were not."""
    for now in range(seconds + 1):
        beyond = 100 if now == taken_at else 500
        lull = follow(lull, beyond * MIB, float(now), left=now == left_at)
    assert lull is not None
    return lull.idle // MIB


def test_room_is_idle_when_nobody_has_wanted_it_for_a_span() -> None:
    assert after(round(FIRST_S) - 1) == 0
    assert after(round(FIRST_S)) == 500


def test_what_was_taken_once_is_not_idle_for_minutes() -> None:
    taken_at = 500
    assert after(taken_at + round(SPAN_S) - 1, taken_at) == 100
    assert after(taken_at + round(2 * SPAN_S), taken_at) == 500


def test_what_a_guest_leaves_is_soon_idle() -> None:
    taken_at, left_at = 500, 520
    assert after(left_at + round(LEFT_S) - 1, taken_at, left_at=left_at) == 100  # as it was before
    assert after(left_at + round(LEFT_S), taken_at, left_at=left_at) == 500


def test_where_guests_leave_again_and_again_what_nobody_wants_is_idle_all_the_same() -> None:
    lull = None
    for now in range(300):
        lull = follow(lull, 500 * MIB, float(now), left=now % round(LEFT_S - 1) == 0)
    assert lull is not None
    assert lull.idle == 500 * MIB
