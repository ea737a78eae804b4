"""squeezed's rule, by cases worked out by hand. Sizes in MiB."""

import msgspec
import pytest

from autoballoon.core.model import Guest
from autoballoon.core.units import KIB, MIB
from autoballoon.policies.squeezed import Squeezed, phase, targets
from tests.policies.sights import Steps, guest, see, sizes

CAPACITY = 2000 * MIB
KEPT = 72


def vm(key: str, actual: float, floor: float, most: float) -> Guest:
    return guest(key, actual, floor=floor, most=most)


A, B = vm("a", 300, 100, 500), vm("b", 400, 200, 400)


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        # 16 KiB more than is kept, for the 2 x 4 KiB by which each guest may miss. Above the minima: 200 + 200 = 400,
        # of ranges 400 + 200 = 600: two thirds: 100 + 266.67, 200 + 133.33.
        (KEPT * MIB + 16 * KIB, {"a": 366.67, "b": 333.33}),
        # 300 less: a sixth: 100 + 66.67, 200 + 33.33.
        ((KEPT - 300) * MIB + 16 * KIB, {"a": 166.67, "b": 233.33}),
        # 400 less, and more: nothing above the minima (gamma = 0).
        ((KEPT - 400) * MIB + 16 * KIB, {"a": 100, "b": 200}),
        ((KEPT - 900) * MIB, {"a": 100, "b": 200}),
        # 200 more, and more: the maxima (gamma = 1).
        ((KEPT + 200) * MIB + 16 * KIB, {"a": 500, "b": 400}),
        ((KEPT + 900) * MIB, {"a": 500, "b": 400}),
    ],
)
def test_the_same_part_for_all_by_hand(free: int, expected: dict[str, float]) -> None:
    found, _ = targets([A, B], free)
    assert {key: pytest.approx(size / MIB, abs=0.01) for key, size in found.items()} == expected


def test_guests_without_a_range_stay_where_they_are() -> None:
    assert targets([vm("a", 300, 300, 300)], 900 * MIB)[0] == {"a": 300 * MIB}


def test_memory_is_freed_before_any_is_given() -> None:
    assert phase([A, B], {"a": 366 * MIB, "b": 333 * MIB}) == {"b": 333 * MIB}
    assert phase([A, vm("b", 333, 200, 400)], {"a": 366 * MIB, "b": 333 * MIB}) == {
        "a": 366 * MIB,
        "b": 333 * MIB,
    }


def test_one_round_frees_then_gives_and_then_rests_for_ten_seconds() -> None:
    steps = Steps(Squeezed(), capacity=CAPACITY)
    free = KEPT * MIB + 16 * KIB
    freed = steps.step(100.0, free, [A, B])
    assert {key: size / MIB for key, size in freed.items()} == {"b": pytest.approx(333.33, abs=0.01)}
    b = msgspec.structs.replace(B, actual=freed["b"])
    given = steps.step(101.0, free + 400 * MIB - freed["b"], [A, b])
    assert {key: size / MIB for key, size in given.items()} == {"a": pytest.approx(366.67, abs=0.01)}
    a = msgspec.structs.replace(A, actual=given["a"])
    # Everyone is where it should be: the round is over. That the host then loses 50 is seen at the next check.
    assert steps.step(102.0, free, [a, b]) == {}
    for second in range(103, 112):
        assert steps.step(float(second), free - 50 * MIB, [a, b]) == {}
    assert set(steps.step(112.0, free - 50 * MIB, [a, b])) == {"a", "b"}


def test_a_guest_that_does_not_move_for_five_seconds_is_made_up_for_by_the_others() -> None:
    """Two guests of 100 to 500 at 400: 200 are missing, 100 each. One never moves."""
    steps = Steps(Squeezed(), capacity=CAPACITY)
    free = (KEPT - 200) * MIB + 16 * KIB
    stuck, other = vm("stuck", 400, 100, 500), vm("other", 400, 100, 500)
    assert steps.step(100.0, free, [stuck, other]) == {"stuck": 300 * MIB, "other": 300 * MIB}
    other = vm("other", 300, 100, 500)
    # 100 of the 200 have come. Above the minima there are (300 - 100) + (400 - 100) - 100 = 400, a half: 300 for both.
    for second in range(101, 106):
        assert steps.step(float(second), free + 100 * MIB, [stuck, other]) == {}
    # Without the stuck one (300 - 100) - 100 = 100 are above the minimum, and the 8 KiB by which it may miss.
    assert steps.step(106.0, free + 100 * MIB, [stuck, other]) == {"other": 200 * MIB + 8 * KIB}
    # It has given that: the round ends; the stuck one's target stays.
    other = msgspec.structs.replace(other, actual=200 * MIB + 8 * KIB)
    assert steps.step(107.0, free + 200 * MIB, [stuck, other]) == {}
    assert steps.step(108.0, free + 200 * MIB, [stuck, other]) == {}
    assert steps.state.tracks["stuck"].target == 300 * MIB


def test_a_guest_that_does_not_take_what_it_was_given_may_not_take_it_later() -> None:
    """Two guests of 100 to 500 at 300, and 200 free: 400 for each. One never takes more than 300."""
    steps = Steps(Squeezed(), capacity=CAPACITY)
    free = (KEPT + 200) * MIB - 16 * KIB
    limited, other = vm("limited", 300, 100, 500), vm("other", 300, 100, 500)
    given = steps.step(100.0, free, [limited, other])
    assert {key: pytest.approx(size / MIB, abs=0.02) for key, size in given.items()} == {
        "limited": 400,
        "other": 400,
    }
    other = msgspec.structs.replace(other, actual=given["other"])
    for second in range(101, 106):
        given = steps.step(float(second), free - 100 * MIB, [limited, other])
        other = msgspec.structs.replace(other, actual=given.get("other", other.actual))
    # Left out, it is to have what it has; the 100 that it did not take are for the other.
    after = steps.step(106.0, free - 100 * MIB, [limited, other])
    assert after["limited"] == 300 * MIB
    assert after["other"] / MIB == pytest.approx(500, abs=0.1)


def test_a_guest_that_is_not_up_is_in_no_sum() -> None:
    booting = guest("new", 500, floor=100, driver=False, available=None, age_s=None)
    # 50 free and 200 to free: 250 of a range of 400. With the newcomer's 400 it would be 650 of 800.
    sight = see([vm("a", 300, 100, 500), booting], capacity=CAPACITY, available=(KEPT + 50) * MIB + 8 * KIB)
    assert sizes(Squeezed(), sight) == {"a": 350 * MIB}


def test_needs_do_not_matter() -> None:
    """It never helps: one guest starves, the other is idle, and both have their part."""
    starving = guest("starving", 300, floor=100, most=500, available=0)
    idle = guest("idle", 300, floor=100, most=500, available=250 * MIB)
    sight = see([starving, idle], capacity=CAPACITY, available=KEPT * MIB + 16 * KIB)
    assert sizes(Squeezed(), sight) == {}
