from collections.abc import Callable

import msgspec

from autoballoon.views.lab_results import Results
from autoballoon.views.lab_side import cell, rows, side_by_side, words
from autoballoon.views.lab_table import headline, table
from autoballoon.views.report import page

MakePeers = Callable[..., Results]


def test_arms_are_rows_and_variants_are_columns(make_peers: MakePeers) -> None:
    said = list(side_by_side(make_peers()))
    assert said[1].split() == ["fast", "slow"]
    assert said[2].split() == ["ARM", *["TIME", "WALL(s)", "PAGES"] * 2]
    by_arm = {line.split()[0]: line.split()[1:] for line in said[3:]}
    assert list(by_arm) == ["yardstick", "off", "ladder", "mom", "squeezed"]
    # 80 s in all, 30 of them before the go; 6.0 / 4.0.
    assert by_arm["mom"] == ["1.50x", "50", "9,000"] * 2
    assert len({len(line) for line in said[2:]}) == 1


def test_what_was_not_run_or_is_not_known_is_a_dash(make_peers: MakePeers) -> None:
    whole = make_peers(mom_slow={"extra": {}})
    some = [arm for arm in whole.arms if arm.name not in ("yardstick@slow", "squeezed@slow")]
    found = dict(rows(msgspec.structs.replace(whole, arms=some)))
    assert [words(told) for told in found["squeezed"]] == [("1.38x", "50", "0"), ("-", "-", "-")]
    assert [words(told) for told in found["mom"]] == [("1.50x", "50", "9,000"), ("-", "-", "9,000")]


def test_a_time_in_which_not_all_were_done_is_a_lower_bound(make_peers: MakePeers) -> None:
    results = make_peers(mom_fast={"finished": 7})
    assert words(cell(results, "fast", "mom"))[:2] == (">1.50x", ">50")


def test_variants_may_share_a_yardstick(over: Results) -> None:
    shared = cell(over, "1600", "yardstick")
    assert shared == cell(over, "2000", "yardstick")
    off = cell(over, "1600", "off")
    assert off is not None and off.time == 5.0


def test_an_experiment_without_variants_has_no_such_table(results: Results) -> None:
    assert list(side_by_side(results)) == []
    assert "over the yardstick's, seconds" not in table(results)


def test_the_headline_names_the_best_of_each_variant_and_no_lower_bound(make_peers: MakePeers) -> None:
    assert headline(make_peers()) == (
        "Least busy time over the yardstick's: ladder in fast (1.25x), ladder in slow (1.25x)."
    )
    assert "squeezed in fast (1.38x)" in headline(make_peers(ladder_fast={"finished": 7}))


def test_the_page_has_it_too(make_peers: MakePeers) -> None:
    made = page(make_peers(), [], [], "")
    assert "<h2>Side by side</h2>" in made
    assert "<th>fast: TIME</th>" in made
    assert "<td>squeezed</td><td>1.38x</td><td>50</td><td>0</td>" in made


def test_the_table_has_everything(make_peers: MakePeers, over: Results) -> None:
    for results in (make_peers(), over):
        text = table(results)
        assert "TIME" in text and "What it must reach:" in text and "MISSED" not in text
        for arm in results.arms:
            assert any(line.startswith(f"{arm.name} ") for line in text.splitlines())
