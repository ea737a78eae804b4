"""Water-filling."""

from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.share import water_fill

CLAIMS = st.lists(st.tuples(st.integers(-5, 10**12), st.integers(0, 10**4)), max_size=30)


def test_everyone_gets_the_claim_when_there_is_enough() -> None:
    assert water_fill(100, [10, 20, 30], [1, 1, 1]) == [10, 20, 30]


def test_equal_weights_share_evenly_and_small_claims_leave_their_rest_to_others() -> None:
    assert water_fill(60, [10, 100, 100], [1, 1, 1]) == [10, 25, 25]


def test_weights_count() -> None:
    assert water_fill(90, [1000, 1000], [1000, 2000]) == [30, 60]


@given(st.integers(-10, 10**13), CLAIMS)
def test_nothing_is_lost_and_nobody_gets_more_than_the_claim(
    amount: int, claims: list[tuple[int, int]]
) -> None:
    sizes, weights = [c for c, _ in claims], [w for _, w in claims]
    shares = water_fill(amount, sizes, weights)
    wanted = [max(0, size) for size in sizes]
    assert sum(shares) == min(max(0, amount), sum(wanted))
    assert all(0 <= share <= want for share, want in zip(shares, wanted, strict=True))


@given(st.integers(0, 10**13), CLAIMS.filter(bool))
def test_who_is_short_has_no_less_per_weight_than_anybody(amount: int, claims: list[tuple[int, int]]) -> None:
    sizes, weights = [c for c, _ in claims], [max(1, w) for _, w in claims]
    shares = water_fill(amount, sizes, weights)
    levels = [share / weight for share, weight in zip(shares, weights, strict=True)]
    for size, share, level in zip(sizes, shares, levels, strict=True):
        if share < size - 1:
            assert level >= max(levels) - 2


@given(st.integers(0, 10**6), CLAIMS)
def test_more_to_hand_out_makes_nobody_poorer(amount: int, claims: list[tuple[int, int]]) -> None:
    sizes, weights = [c for c, _ in claims], [w for _, w in claims]
    less, more = water_fill(amount, sizes, weights), water_fill(amount + 1000, sizes, weights)
    assert all(b >= a - 1 for a, b in zip(less, more, strict=True))
