"""qmemman's rule: the cases that Qubes publishes itself, and cases worked out by hand. Sizes in MiB."""

from typing import Any

import pytest

from autoballoon.core.model import Guest
from autoballoon.core.units import MIB
from autoballoon.policies.qmemman import Dom, Qmemman, balance, is_worth_it, preferred_by, share_surplus
from tests.policies.sights import Steps, guest, see, sizes

CAPACITY = 4000 * MIB


def dom(key: str, preferred: float, size: float, most: float = 4096) -> Dom:
    return Dom(key, int(preferred * MIB), int(size * MIB), int(size * MIB), int(most * MIB))


def vm(key: str, actual: float, used: float, *, most: float = 1024, **more: Any) -> Guest:
    """A guest that has never been ballooned by much: its total is its size, what it does not use is free."""
    fields = {"total": int(actual * MIB), "free": int((actual - used) * MIB), "caches": 0, **more}
    return guest(key, actual, most=most, **fields)


def in_mib(found: dict[str, int]) -> dict[str, Any]:
    return {key: pytest.approx(size / MIB, abs=0.01) for key, size in found.items()}


# qubes-core-admin, qubes/tests/qmemman.py. Preferred: 1.3 x used, dom0 has 350 more.
PUBLISHED_PLENTY = [
    dom("0", 1024 * 1.3 + 350, 1736),
    dom("1", 1024 * 1.3, 1536),
    dom("2", 4096, 4096),
    dom("4", 1536 * 1.3, 1536),
    dom("5", 512 * 1.3, 768, most=1024),
]
PUBLISHED_SHORT = [
    dom("0", 1024 * 1.3 + 350, 768),
    dom("1", 1024 * 1.3, 1536),
    dom("2", 4096, 4096),
    dom("4", 1536 * 1.3, 1536),
    dom("5", 512 * 1.3, 768, most=1024),
]


def test_plenty_as_it_is_published() -> None:
    assert share_surplus(PUBLISHED_PLENTY, 4096 * MIB) == {
        "0": 3068708976,
        "1": 2548378128,
        "2": 4294967296,
        "4": 3537898734,
        "5": 1073741824,
    }


def test_too_little_as_it_is_published() -> None:
    assert balance(PUBLISHED_SHORT, 50 * MIB) == {"1": 1395864371, "5": 697932185}


@pytest.mark.parametrize(
    ("doms", "spare", "expected"),
    [
        # Surplus 100 - (520 + 260 - 512 - 512) = 344; two thirds and a third of it: 0.999 x (520 + 229.33), 0.999 x
        # (260 + 114.67).
        ([dom("a", 520, 512), dom("b", 260, 512)], 100, {"a": 748.58, "b": 374.29}),
        # As above, but the first can have no more than 600: 748.58 - 600 = 148.58 goes to the other.
        # 374.29 + 0.999 x 148.58 = 522.73.
        ([dom("a", 520, 512, most=600), dom("b", 260, 512)], 100, {"a": 600, "b": 522.73}),
        # No surplus: 0 - (600 + 200 - 400 - 400) = 0. The donor goes down to 200. What it gives is taken off what is
        # free, -200: nothing for the other before it has come.
        ([dom("taker", 600, 400), dom("donor", 200, 400)], 0, {"donor": 200}),
        # It has come: 200 free. Who has just what it prefers gets of it too, a quarter as it prefers 200 of 800:
        # 0.999 x (400 + 150), 0.999 x (200 + 50).
        ([dom("taker", 600, 400), dom("donor", 200, 200)], 200, {"taker": 549.45, "donor": 249.75}),
        # 90 free for two, 2 : 1 by what they prefer: 0.999 x (400 + 60), 0.999 x (250 + 30).
        ([dom("a", 600, 400), dom("b", 300, 250)], 90, {"a": 459.54, "b": 279.72}),
        # 9 above its preferred size is no donation; 10 is.
        ([dom("taker", 600, 400), dom("donor", 200, 209)], 0, {"taker": 399.6}),
        ([dom("taker", 600, 400), dom("donor", 200, 210)], 0, {"donor": 200}),
        # At its maximum it takes nothing, though it prefers what it has: all of the 50 goes to the other.
        ([dom("full", 512, 512, most=512), dom("taker", 600, 400)], 50, {"taker": 449.55}),
    ],
)
def test_balance_by_hand(doms: list[Dom], spare: int, expected: dict[str, float]) -> None:
    assert in_mib(balance(doms, spare * MIB)) == expected


@pytest.mark.parametrize(
    ("found", "to", "spare", "worth"),
    [
        (dom("a", 300, 400), 549, 0, False),
        (dom("a", 300, 400), 550, 0, False),
        (dom("a", 300, 400), 551, 0, True),
        # What is free counts too: 100 + 51.
        (dom("a", 300, 400), 500, 50, False),
        (dom("a", 300, 400), 500, 51, True),
        # Below its preferred size 15 is not yet enough, 16 is; what it gives up does not count so.
        (dom("a", 500, 400), 415, 0, False),
        (dom("a", 500, 400), 416, 0, True),
        (dom("a", 500, 400), 384, 0, False),
        # The host lacks more than 15 of the 50 that are its own.
        (dom("a", 300, 400), 400, -15, False),
        (dom("a", 300, 400), 400, -16, True),
    ],
)
def test_what_is_worth_doing(found: Dom, to: int, spare: int, worth: bool) -> None:
    assert is_worth_it([found], {"a": to * MIB}, spare * MIB) is worth


@pytest.mark.parametrize(
    ("found", "preferred"),
    [
        (vm("a", 512, 400), 520),  # 1.3 x 400
        (vm("a", 512, 100), 200),  # at least that
        (vm("a", 1024, 900), 1024),  # at most its maximum: 1170
        # Cache does not count as used: 512 - 100 - 112 = 300.
        (vm("a", 512, 400, free=100 * MIB, caches=112 * MIB), 390),
        # Swap in use does: 300 + 50.
        (vm("a", 512, 300, swap_used=50 * MIB), 455),
        # No caches known: what is available stands in for free and cached. 512 - 212 = 300.
        (vm("a", 512, 0, caches=None, available=212 * MIB), 390),
        # The balloon looks used: total 1000 stays while 512 of 1024 are given up. 1000 - 512 - 188 = 300.
        (vm("a", 512, 0, total=1000 * MIB, free=188 * MIB, deflates_itself=True), 390),
        # And it is told from the numbers where the feature bit is not known.
        (vm("a", 512, 0, total=1000 * MIB, free=188 * MIB), 390),
        # Otherwise the total shrinks with the balloon. 488 - 188 = 300.
        (vm("a", 512, 0, total=488 * MIB, free=188 * MIB, deflates_itself=False), 390),
    ],
)
def test_what_a_guest_prefers(found: Guest, preferred: float) -> None:
    assert preferred_by(found) == pytest.approx(preferred * MIB, abs=1)


def test_a_guest_that_reports_nothing_is_left_out() -> None:
    mute = guest("mute", 512, available=None)
    # 250 free - 50 kept - (260 - 512) = 452 surplus for the only one that counts: 0.999 x (260 + 452) = 711.288.
    sight = see([mute, vm("a", 512, 200)], capacity=CAPACITY, available=250 * MIB)
    assert in_mib(sizes(Qmemman(), sight)) == {"a": 711.29}


def test_memory_that_a_guest_may_still_touch_is_not_free() -> None:
    # As above, but 100 of its 512 have never been touched: 352 surplus, 0.999 x 612.
    sight = see([vm("a", 512, 200, resident=412 * MIB)], capacity=CAPACITY, available=250 * MIB)
    assert in_mib(sizes(Qmemman(), sight)) == {"a": 611.39}


def test_memory_that_a_guest_was_promised_is_not_free_and_its_own() -> None:
    # Promised 612 where it has 512: 250 - 50 - 100 = 100 free, and 100 - (260 - 612) = 452 surplus again.
    sight = see(
        [vm("a", 512, 200)], capacity=CAPACITY, available=250 * MIB, targets={"a": 612 * MIB}, asked_at=99.9
    )
    assert in_mib(sizes(Qmemman(), sight)) == {"a": 711.29}


def test_a_donor_that_does_not_answer_is_left_out_until_it_does() -> None:
    policy = Qmemman()
    memory = policy.start()
    left_out, wished = [], []
    for now, size in ((100.0, 512), (100.2, 512), (101.0, 512), (102.0, 215)):
        sight = see(
            [vm("taker", 400, 400), vm("stuck", size, 100)],
            capacity=CAPACITY, available=50 * MIB, now=now, targets={"stuck": 200 * MIB}, asked_at=100.0,
        )  # fmt: skip
        wishes = policy.wish(memory, sight, now)
        memory = wishes.memory
        left_out.append(set(memory.unmoved))
        wished.append(set(wishes.wishes))
    # Asked at 100: half a second to answer. At 102 it has come within 25 MiB of its target.
    assert left_out == [set(), set(), {"stuck"}, set()]
    # 0 - (120 - 312) = 192 surplus: both take part. Without it there is a lack of 120 and nothing free: no wish.
    assert wished[:3] == [{"taker", "stuck"}, {"taker", "stuck"}, set()]


def test_donors_first_and_takers_when_it_has_come() -> None:
    steps = Steps(Qmemman(), capacity=CAPACITY)
    # Both takers prefer 1.3 x 400 = 520, the donor 200. 0 - (120 + 120 - 152) = -88: the donor goes down.
    first = [vm("taker", 400, 400), vm("other", 400, 400), vm("donor", 352, 100)]
    assert steps.step(100.0, 50 * MIB, first) == {"donor": 200 * MIB}
    # Its memory is back: 152 free for 520 + 520 + 200 = 1240. 0.999 x (400 + 63.74), 0.999 x (200 + 24.52).
    second = [vm("taker", 400, 400), vm("other", 400, 400), vm("donor", 200, 100)]
    found = steps.step(101.0, 202 * MIB, second)
    assert in_mib(found) == {"taker": 463.28, "other": 463.28, "donor": 224.29}


def test_a_tick_is_asked_for_when_a_guest_has_taken_as_much_as_makes_it_report() -> None:
    steps = Steps(Qmemman(), capacity=CAPACITY)
    steps.step(100.0, 50 * MIB, [vm("a", 512, 200, available=300 * MIB)])
    assert not steps.engine.near_edge(steps.state, vm("a", 512, 200, available=271 * MIB), 100.5)
    assert steps.engine.near_edge(steps.state, vm("a", 512, 200, available=270 * MIB), 100.5)
