"""The scoreboard's words, and who is best where."""

import pytest

from autoballoon.views.scoreboard import table
from autoballoon.views.sim_results import Result


def result(scenario: str, policy: str, lost_s: float, *, unmet: int = 0, over_s: float = 0.0) -> Result:
    return Result(
        scenario=scenario, policy=policy, seed=1, lost_s=lost_s, work_s=100.0 - lost_s, host_swap_in=4096 * 20_000,
        host_swap_out=0, guest_swap_in=0, guest_swap_out=4096, longest_starving_s=1.5, moves=7, over_s=over_s,
        guest_ooms=0, host_ooms=unmet, unmet=tuple(f"check {n}" for n in range(unmet)),
    )  # fmt: skip


def last(*results: Result) -> str:
    return table(results).splitlines()[-1]


def test_a_row_for_each_scenario_and_a_column_for_each_policy() -> None:
    text = table([result("a", "static", 20.0), result("a", "ladder", 10.0), result("a", "oracle", 5.0)])
    lines = text.splitlines()
    at = lines.index("GUEST TIME LOST (s)")
    assert lines[at + 1].split() == ["ladder", "static", "oracle"]
    assert lines[at + 2].split() == ["a", "10.0", "20.0", "5.0"]
    at = lines.index("PAGES SWAPPED BY THE HOST")
    assert lines[at + 2].split() == ["a", "20k", "20k", "20k"]
    at = lines.index("TIME FOR THE SAME WORK, as a ratio to the oracle's")
    assert lines[at + 2].split() == ["a", "1.056", "1.188"]


@pytest.mark.parametrize(
    ("ours", "theirs", "best"),
    [(10.0, 20.0, True), (10.9, 10.0, True), (11.1, 10.0, False), (101.9, 100.0, True)],
)
def test_best_or_tied(ours: float, theirs: float, best: bool) -> None:
    says = last(result("a", "ladder", ours), result("a", "mom", theirs))
    assert ("on 1 of 1 scenarios" in says) is best
    text = table([result("a", "ladder", ours), result("a", "mom", theirs)])
    assert ("WHERE THE LADDER IS NOT BEST (1)" in text) is not best


def test_a_policy_that_fails_what_must_hold_is_no_rival() -> None:
    assert "on 1 of 1" in last(result("a", "ladder", 10.0), result("a", "mom", 1.0, unmet=1))
    assert "on 0 of 1" in last(result("a", "ladder", 10.0, unmet=1), result("a", "mom", 1.0, unmet=1))


def test_what_ours_fails_is_told() -> None:
    text = table([result("a", "ladder", 1.0, unmet=2), result("a", "mom", 1.0)])
    assert "WHAT THE LADDER FAILS (2)" in text
    assert "a: check 1" in text
    assert "2+0(+2)" in text


def test_near_the_oracle_counts_only_where_needs_fit() -> None:
    fits = [result("a", "ladder", 12.0), result("a", "oracle", 10.0)]
    far = [result("b", "ladder", 13.0), result("b", "oracle", 10.0)]
    over = [result("c", "ladder", 90.0, over_s=5.0), result("c", "oracle", 10.0, over_s=5.0)]
    little = [result("d", "ladder", 0.9), result("d", "oracle", 0.1)]
    text = table([*fits, *far, *over, *little])
    assert (
        "on 2 of the 3 scenarios whose needs fit the host at all times. Without that second it is 1." in text
    )
    assert "needs exceed the pool there (for so long): c (5.0 s).\n" in text
    at = text.splitlines().index("FURTHER FROM THE ORACLE THAN 1.2 x (1): ladder, the best there is, ratio")
    assert text.splitlines()[at + 1].split() == ["b", "13.0", "oracle", "10.0", "1.3", "x"]


def test_who_is_better_than_the_oracle_is_the_yardstick() -> None:
    ours, oracle = result("a", "ladder", 12.0), result("a", "oracle", 11.0)
    assert "on 1 of the 1" in table([ours, oracle, result("a", "mom", 20.0)])
    assert "a  12.0  mom 5.0  2.4 x" in table([ours, oracle, result("a", "mom", 5.0)])
    assert "on 1 of the 1" in table([ours, oracle, result("a", "mom", 5.0, unmet=1)])


def test_every_policy_is_counted_where_it_is_best_and_ours_is_told_where_it_is_not() -> None:
    lines = table(
        [
            *(result("a", "ladder", 30.0), result("a", "mom", 10.0), result("a", "static", 10.5)),
            *(result("b", "ladder", 10.0), result("b", "mom", 20.0), result("b", "static", 1.0, unmet=1)),
            *(result("c", "ladder", 10.0, unmet=1), result("c", "mom", 20.0), result("c", "static", 50.0)),
        ]
    ).splitlines()
    at = lines.index("BEST OR TIED, of 3 scenarios")
    assert [line.split() for line in lines[at + 1 : at + 4]] == [
        ["ladder", "1"],
        ["mom", "2"],
        ["static", "1"],
    ]
    at = lines.index("WHERE THE LADDER IS NOT BEST (2): ladder, the best, by how much (s)")
    assert lines[at + 1].split() == ["a", "30.0", "mom", "10.0", "+20.0"]
    assert lines[at + 2].split() == ["c", "10.0", "mom", "20.0", "-10.0,", "fails", "1", "more"]


def test_rows_of_nothing_are_left_out() -> None:
    text = table([result("a", "ladder", 0.0), result("b", "ladder", 5.0)])
    assert "(nothing in 1 others)" in text
