"""MOM's rule, by cases worked out by hand. Sizes in MiB."""

import pytest

from autoballoon.core.model import Guest
from autoballoon.core.units import MIB, page_floor
from autoballoon.policies.mom import Mom, Sampled, decide, guest_part
from tests.policies.sights import Steps, guest, see, sizes

CAPACITY = 1000 * MIB


def vm(key: str, actual: float, unused: float | None, *, most: float = 1000, floor: float = 0) -> Guest:
    free = None if unused is None else int(unused * MIB)
    return guest(key, actual, most=most, floor=floor, free=free)


@pytest.mark.parametrize(
    ("host_free", "part"),
    [
        (0.199, 0.199),  # 0.20 x 0.199 / 0.20
        (0.10, 0.10),
        (0.051, 0.051),
        (0.05, 0.0),  # critical: 0.05 - 0.05
        (0.02, -0.03),
        (0.0, -0.05),
    ],
)
def test_a_guest_may_keep_less_free_the_shorter_the_host(host_free: float, part: float) -> None:
    assert guest_part(host_free) == pytest.approx(part)


@pytest.mark.parametrize(
    ("found", "host_free", "size"),
    [
        # Plenty: 360 used + 0.2 x 400 = 440, more than 1.05 x 400.
        (vm("a", 400, 40), 0.30, 440),
        # 100 used + 80 is less than 1.05 x 400 = 420.
        (vm("a", 400, 300), 0.30, 420),
        # Exactly a fifth free is plenty.
        (vm("a", 400, 300), 0.20, 420),
        (vm("a", 400, 40, most=430), 0.30, 430),
        (vm("a", 400, 0, most=400), 0.30, None),  # there is nothing to give back
        # 1.05 x 400 = 420 would go beyond 400.5; what is left is 0.125 %, too little to do.
        (vm("a", 400, 300, most=400.5), 0.30, None),
        # Short: 0.95 x 400 = 380; it may go to 200 used + 0.1 x 400 = 240.
        (vm("a", 400, 200), 0.10, 380),
        # 350 used + 40 = 390 is more than 380.
        (vm("a", 400, 50), 0.10, 390),
        # 360 + 40 = 400: no change. 380 + 40 = 420: it should grow, which a short host does not do.
        (vm("a", 400, 40), 0.10, None),
        (vm("a", 400, 20), 0.10, None),
        # 0.25 % of 400 is 1: 359 + 40 = 399 is dropped, 358.5 + 40 = 398.5 is done.
        (vm("a", 400, 41), 0.10, None),
        (vm("a", 400, 41.5), 0.10, 398.5),
        # The minimum holds: 390, where 380 would do.
        (vm("a", 400, 300, floor=390), 0.10, 390),
        # Critical, exactly: all that it uses, 385.
        (vm("a", 400, 15), 0.05, 385),
        # 0.02 - 0.05 = -0.03: 400 used - 12: it has to swap.
        (vm("a", 400, 0), 0.02, 388),
        # Never faster than 5 %: 400 used - 20 = 380, and so is 0.95 x 400.
        (vm("a", 400, 0), 0.0, 380),
    ],
)
def test_sizes_by_hand(found: Guest, host_free: float, size: float | None) -> None:
    decided = decide(found, (Sampled(found.actual, found.free or 0),), host_free)
    assert decided == (None if size is None else pytest.approx(size * MIB, abs=1))


def test_what_a_guest_uses_is_an_average_and_its_size_is_not() -> None:
    # Sizes 400 and 300, unused 100 and 100: 350 - 100 = 250 used. Now it is 300: 250 + 0.2 x 300 = 310 < 1.05 x 300.
    found = vm("a", 300, 100)
    samples = (Sampled(400 * MIB, 100 * MIB), Sampled(300 * MIB, 100 * MIB))
    assert decide(found, samples, 0.5) == pytest.approx(315 * MIB)
    # Unused 20 and 40: 350 - 30 = 320 used: 320 + 60 = 380.
    samples = (Sampled(400 * MIB, 20 * MIB), Sampled(300 * MIB, 40 * MIB))
    assert decide(found, samples, 0.5) == pytest.approx(380 * MIB)


def test_it_samples_every_five_seconds_and_decides_every_ten() -> None:
    steps = Steps(Mom(), capacity=CAPACITY)
    # 30 % free: 1.05 x 400 = 420.
    assert steps.step(100.0, 300 * MIB, [vm("a", 400, 300)]) == {"a": 420 * MIB}
    # From now on 10 % is free; the guest has grown. Nothing is decided before ten seconds are over.
    for second in range(1, 10):
        assert steps.step(100.0 + second, 100 * MIB, [vm("a", 420, 320)]) == {}
    # (30 + 10 + 10) / 3 = 16.7 % free: short. 0.95 x 420 = 399.
    assert steps.step(110.0, 100 * MIB, [vm("a", 420, 320)]) == {"a": page_floor(399 * MIB)}


def test_only_the_last_ten_samples_count() -> None:
    policy = Mom()
    memory = policy.start()
    found = [vm("a", 400, 0)]
    wished = {}
    # One sample of 90 % and then 10 %: after nine more the average is 18 %, with the eleventh it is 10 %.
    for look in range(11):
        sight = see(found, capacity=CAPACITY, available=(900 if look == 0 else 100) * MIB)
        wishes = policy.wish(memory, sight, 100.0 + 5 * look)
        memory = wishes.memory
        wished[look] = wishes.wishes["a"].numbers["host_free"] if wishes.wishes else None
    assert len(memory.host_free) == len(memory.guests["a"]) == 10
    # Looks 0, 2, 4 are plenty: (900 + 4 x 100) / 5 = 260. At look 6 it is (900 + 600) / 7 = 214, at 8 188.9: short, and
    # the guest uses all it has, so nothing is asked of it.
    assert wished == {
        0: 900 * MIB, 1: 900 * MIB, 2: pytest.approx(366.667 * MIB, rel=1e-5), 3: wished[2], 4: 260 * MIB, 5: 260 * MIB,
        6: pytest.approx(214.286 * MIB, rel=1e-5), 7: wished[6], 8: None, 9: None, 10: None,
    }  # fmt: skip
    assert sum(memory.host_free) == 1000 * MIB


def test_a_guest_that_reports_no_free_memory_is_left_alone() -> None:
    sight = see([vm("mute", 400, None), vm("a", 400, 300)], capacity=CAPACITY, available=300 * MIB)
    assert sizes(Mom(), sight) == {"a": 420 * MIB}


def test_a_guest_that_does_not_answer_once_keeps_its_samples() -> None:
    policy = Mom()
    memory, wished = policy.start(), {}
    for now, found in ((100.0, vm("a", 400, 0)), (105.0, vm("a", 400, None)), (110.0, vm("a", 400, 80))):
        wishes = policy.wish(memory, see([found], capacity=CAPACITY, available=300 * MIB), now)
        memory, wished = wishes.memory, {key: wish.size for key, wish in wishes.wishes.items()}
    # Unused 0 and 80: 400 - 40 = 360 used, + 0.2 x 400. The newest alone would be 320 used, and 1.05 x 400.
    assert wished == {"a": 440 * MIB}
    # One that is gone leaves nothing behind.
    assert policy.wish(memory, see([], capacity=CAPACITY, available=300 * MIB), 115.0).memory.guests == {}


def test_all_guests_shrink_alike_whoever_is_idle() -> None:
    # 10 % free: 0.95 x 400 = 380, 0.95 x 800 = 760.
    sight = see([vm("a", 400, 200), vm("b", 800, 700)], capacity=CAPACITY, available=100 * MIB)
    assert sizes(Mom(), sight) == {"a": 380 * MIB, "b": 760 * MIB}


def test_a_deflated_balloon_is_not_followed() -> None:
    """None of our own safeguards: what the guest took back by itself is for the rule to see, at its next cycle."""
    steps = Steps(Mom(), capacity=CAPACITY)
    assert steps.step(100.0, 100 * MIB, [vm("a", 400, 200)]) == {"a": 380 * MIB}
    assert steps.step(101.0, 100 * MIB, [vm("a", 380, 180)]) == {}
    assert steps.step(102.0, 100 * MIB, [vm("a", 395, 195)]) == {}
    assert steps.state.tracks["a"].target == 380 * MIB
