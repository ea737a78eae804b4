"""Proxmox VE's rule: the cases that it publishes itself, and cases worked out by hand. Sizes in MiB."""

import msgspec
import pytest

from autoballoon.core.model import Guest, Reason
from autoballoon.core.units import MIB
from autoballoon.policies.proxmox import Proxmox, cycle, has_spare
from tests.policies.sights import Steps, guest, see, sizes

CAPACITY = 10_000 * MIB


def vm(key: str, actual: int, floor: int, free: int | None, *, most: int = 2000, shares: int = 1000) -> Guest:
    return guest(
        key, actual, most=most, floor=floor, shares=shares, free=None if free is None else free * MIB
    )


def moved(guests: list[Guest], goal: float) -> dict[str, int]:
    """Where a cycle puts those that it moves."""
    start = {g.key: g.actual for g in guests}
    found = cycle(guests, int(goal * MIB))
    return {key: size // MIB for key, size in found.items() if size != start[key]}


def moved_in_the_end(guests: list[Guest], goal: int) -> tuple[dict[str, int], list[Guest]]:
    """The same, cycle after cycle until nothing moves; free memory follows, as in the published simulation."""
    sums: dict[str, int] = {}
    for _ in range(100):
        found = moved(guests, goal)
        if not found:
            return sums, guests
        sums |= found
        for number, g in enumerate(guests):
            if g.key in found:
                change = found[g.key] * MIB - g.actual
                goal -= change // MIB
                free = max(0, (g.free or 0) + change)
                guests = [*guests[:number], _resized(g, change, free), *guests[number + 1 :]]
    raise AssertionError("it never comes to rest")


def _resized(g: Guest, change: int, free: int) -> Guest:
    return msgspec.structs.replace(g, actual=g.actual + change, free=free)


# The numbers of pve-manager's test/balloontest.pl, read as MiB where that counts in 10^6 bytes.
ONE = [vm("100", 1000, 1000, 0, shares=2000), vm("101", 1000, 1000, 0)]
TWO = [vm("100", 2000, 2000, 0, shares=2000), vm("101", 1000, 1000, 0)]
THREE = [vm("100", 2000, 2000, 0, shares=2000), vm("101", 1007, 1000, 0), vm("102", 1000, 1000, 512)]


@pytest.mark.parametrize(
    ("guests", "goal", "expected"),
    [
        (ONE, 0, {}),
        (ONE, 90, {"100": 1060, "101": 1030}),
        (ONE, 150, {"100": 1100, "101": 1050}),
        (ONE, 270, {"100": 1100, "101": 1090}),
        (TWO, 0, {}),
        (TWO, 18, {"101": 1018}),
        (TWO, 500, {"101": 1100}),
        (THREE, 0, {}),
        (THREE, 11, {"101": 1018}),
        (THREE, 80, {"101": 1087}),
        (THREE, 200, {"101": 1107}),
    ],
)
def test_a_cycle_does_what_is_published(guests: list[Guest], goal: int, expected: dict[str, int]) -> None:
    assert moved(guests, goal) == expected


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (180, {"100": 1120, "101": 1060}),
        (270, {"100": 1180, "101": 1090}),
        (600, {"100": 1300, "101": 1300}),
        (900, {"100": 1600, "101": 1300}),
    ],
)
def test_cycles_end_where_it_is_published(goal: int, expected: dict[str, int]) -> None:
    assert moved_in_the_end(ONE, goal)[0] == expected


def test_what_was_given_is_taken_as_it_is_published() -> None:
    given, status = moved_in_the_end(THREE, 593)
    assert given == {"101": 1300, "102": 1300}
    assert moved_in_the_end(status, -200)[0] == {"101": 1200, "102": 1200}
    assert moved_in_the_end(status, -400)[0] == {"101": 1200, "102": 1000}
    assert moved_in_the_end(status, -593)[0] == {"101": 1007, "102": 1000}


@pytest.mark.parametrize(
    ("guests", "goal", "expected"),
    [
        # 10 MiB is within the dead band, on either side.
        ([vm("a", 600, 512, 0)], 10, {}),
        ([vm("a", 600, 512, 200)], -10, {}),
        # 88 above the minimum + 11 = 99: 512 + 99.
        ([vm("a", 600, 512, 0)], 11, {"a": 611}),
        # 512 + 88 - 11 = 589.
        ([vm("a", 600, 512, 200)], -11, {"a": 589}),
        # 600 + 500 is desired; a cycle moves 100 from where it stood, however often it goes round.
        ([vm("a", 600, 512, 0)], 500, {"a": 700}),
        # Never below the minimum: 88 is all there is.
        ([vm("a", 600, 512, 200)], -500, {"a": 512}),
        # Nor above the maximum.
        ([vm("a", 1950, 512, 0)], 500, {"a": 2000}),
        # Only the one under pressure grows: 512 + (88 + 50). The other is not asked.
        ([vm("poor", 600, 512, 100), vm("rich", 600, 512, 200)], 50, {"poor": 650}),
        # Only the one with memory to spare shrinks: 512 + (88 - 50).
        ([vm("poor", 600, 512, 100), vm("rich", 600, 512, 200)], -50, {"rich": 550}),
        # The one under pressure can take nothing, so all are asked. Above all minima: 512 + 88 + 60 = 660, a half each
        # is 330: 842 for both. That takes 100 (the most) from the one at its maximum, and gives 100 to the other.
        ([vm("full", 1024, 512, 0, most=1024), vm("rich", 600, 512, 200)], 60, {"full": 924, "rich": 700}),
        # Nobody has memory to spare, so all are asked: (88 + 88 - 60) / 2 = 58 above the minimum.
        ([vm("a", 600, 512, 100), vm("b", 600, 512, 0)], -60, {"a": 570, "b": 570}),
        # (88 + 488 - 100) / 2 = 238: 750 for each. One has less and drops out; the other gives 100 of its 250.
        ([vm("small", 600, 512, 200), vm("big", 1000, 512, 200)], -100, {"big": 900}),
        # (88 + 488 + 488 - 150) / 3 = 304.67: the small one drops out, the others give 100 each, 50 too much; for these
        # two it is then (388 + 388 + 50) / 2 = 413 above the minimum.
        (
            [vm("small", 600, 512, 200), vm("big", 1000, 512, 200), vm("other", 1000, 512, 200)],
            -150,
            {"big": 925, "other": 925},
        ),
        # P has nothing to spare, and A less than its part. B goes by the most, to 5900, and C then by as much, to 3600:
        # 150 more than was asked. Too much is not too little: nobody else is asked.
        (
            [
                vm("A", 1000, 1000, 300, most=8000),
                vm("B", 6000, 1000, 2000, most=8000),
                vm("C", 3700, 1000, 1000, most=8000),
                vm("P", 1000, 1000, 0, most=8000),
            ],
            -50,
            {"B": 5900, "C": 3600},
        ),
        # By shares: 3:1 of 88 + 88 + 104 = 280 above the minima is 210 and 70; the second has 88 and gives 18 up.
        ([vm("gold", 600, 512, 0, shares=3000), vm("tin", 600, 512, 0)], 104, {"gold": 700, "tin": 582}),
    ],
)
def test_cases_by_hand(guests: list[Guest], goal: int, expected: dict[str, int]) -> None:
    assert moved(guests, goal) == expected


@pytest.mark.parametrize(
    ("found", "spare"),
    [
        (vm("a", 600, 400, 101), True),
        (vm("a", 600, 400, 100), False),  # more than a quarter of the minimum, not as much
        (vm("a", 399, 400, 200), False),  # below its minimum
        (vm("a", 600, 400, None), False),  # it has not said
    ],
)
def test_who_has_memory_to_spare(found: Guest, spare: bool) -> None:
    assert has_spare(found) is spare


def test_the_goal_is_to_have_four_fifths_of_the_host_in_use() -> None:
    # 10000 x 0.8 - (10000 - 2060) = 60: 512 + 88 + 60.
    sight = see([vm("a", 600, 512, 0)], capacity=CAPACITY, available=2060 * MIB)
    assert sizes(Proxmox(), sight) == {"a": 660 * MIB}


@pytest.mark.parametrize(
    "left_out",
    [
        vm("out", 600, 0, 0),  # no minimum
        vm("out", 600, 512, 0, shares=0),
        msgspec.structs.replace(vm("out", 600, 512, 0), migrating=True),  # locked
        guest("out", 600, floor=512, driver=False, available=None),  # no driver: no answer about the balloon
        guest("out", 600, floor=512, incoming=True),
        guest("out", 600, floor=512, managed=False),
    ],
)
def test_who_is_left_out(left_out: Guest) -> None:
    # All of the goal goes to the other: with both it would be 30 each.
    sight = see([vm("in", 600, 512, 0), left_out], capacity=CAPACITY, available=2060 * MIB)
    assert sizes(Proxmox(), sight) == {"in": 660 * MIB}


def test_a_guest_that_reports_nothing_is_under_pressure_like_the_other() -> None:
    mute = guest("mute", 600, most=2000, floor=512, available=None, age_s=None)
    sight = see([vm("in", 600, 512, 0), mute], capacity=CAPACITY, available=2060 * MIB)
    assert sizes(Proxmox(), sight) == {"in": 630 * MIB, "mute": 630 * MIB}


def test_a_cycle_begins_every_ten_seconds_and_a_target_is_sent_once() -> None:
    steps = Steps(Proxmox(), capacity=CAPACITY)
    assert steps.step(100.0, 3000 * MIB, [vm("a", 600, 512, 0)]) == {"a": 700 * MIB}
    assert steps.reasons == {"a": Reason.RULE}
    # It has arrived, and the host would have room for more: but not in this cycle.
    for second in range(1, 10):
        assert steps.step(100.0 + second, 2900 * MIB, [vm("a", 700, 512, 0)]) == {}
        assert steps.reasons == {"a": Reason.SETTLED}
    assert steps.step(110.0, 2900 * MIB, [vm("a", 700, 512, 0)]) == {"a": 800 * MIB}


def test_ticks_that_come_a_little_early_do_not_stretch_the_cycle() -> None:
    steps = Steps(Proxmox(), capacity=CAPACITY)
    moves, size = [], 600
    for second in range(45):
        late = 0.01 - second / 10_000  # a little less late at each tick: ten of them take 9.999 s
        if steps.step(100.0 + second + late, 9000 * MIB, [vm("a", size, 512, 0)]):
            moves.append(second)
            size += 100
    assert moves == [0, 11, 21, 31, 41]


def test_a_look_that_was_missed_is_not_made_up_for() -> None:
    steps = Steps(Proxmox(), capacity=CAPACITY)
    moves, size = [], 600
    for now in (100, 135, 136, 144, 145, 154, 155):
        if steps.step(float(now), 9000 * MIB, [vm("a", size, 512, 0)]):
            moves.append(now)
            size += 100
    assert moves == [100, 135, 145, 155]


def test_no_shrink_without_a_reading_taken_after_the_last_move() -> None:
    steps = Steps(Proxmox(), capacity=CAPACITY)
    short = 1000 * MIB
    assert steps.step(100.0, 3000 * MIB, [vm("a", 600, 512, 200)]) == {"a": 700 * MIB}
    old = msgspec.structs.replace(vm("a", 700, 512, 200), age_s=4.0)
    assert steps.step(110.0, short, [msgspec.structs.replace(old, age_s=11.0)]) == {}
    assert steps.reasons == {"a": Reason.SILENT}
    # Its size is seen to change at 110: what it said before says nothing about a shrink.
    assert steps.step(112.0, short, [old]) == {}
    assert steps.reasons == {"a": Reason.WAIT_READING}
    assert steps.step(113.0, short, [vm("a", 700, 512, 200)]) == {"a": 600 * MIB}


def test_where_the_rule_freezes() -> None:
    """The host at exactly four fifths: a guest that starves gets nothing, though another has half of its own free."""
    starving, idle = vm("starving", 600, 512, 0), vm("idle", 2000, 512, 1000)
    sight = see([starving, idle], capacity=CAPACITY, available=2000 * MIB)
    assert sizes(Proxmox(), sight) == {}
