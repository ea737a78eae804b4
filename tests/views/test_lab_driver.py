from typing import Any

import pytest

from autoballoon.views.lab_driver import balloon_rows, moved_pages, per_kept, target_text
from autoballoon.views.lab_results import ArmResult, Machine, Results, Run
from autoballoon.views.lab_table import table
from autoballoon.views.report import page

MACHINE = Machine(cores=2, ram=2**33, accel="tcg", kernel="6.1.0", qemu="QEMU 7.2", cgroup="v1")


def run(**extra: Any) -> Run:
    return Run(
        round=1, wall_s=9.0, work_s=[3.0], finished=1, swap_in_pages=1, swap_out_pages=2, guest_oom=0, guests=1,
        extra=extra,
    )  # fmt: skip


def results(name: str, *runs: Run) -> Results:
    arms = [ArmResult(name="stock+on@cache", policy="ladder", limit=2**30, runs=list(runs))]
    return Results(experiment=name, machine=MACHINE, command="", arms=arms)


FOLLOWED = run(
    inflated_pages=3000, kept_pages=1000, targets=6, targets_reached=6, target_s=2.5, guests_cpu_s=57.25,
    guests_psi_s=1.5, first_s=[0.05, 0.1], whole_s=[0.9, None],
)  # fmt: skip


def test_a_row_tells_the_target_and_what_was_inflated_in_vain() -> None:
    *_, row = balloon_rows(results("driver", FOLLOWED))
    assert row.split() == [
        "stock+on@cache", "1", "reached", "2.5", "57.2", "3,000", "1,000", "3.00", "5,000", "0", "1.5",
        "2", "50", "100", "900", "never",
    ]  # fmt: skip
    assert row in table(results("driver", FOLLOWED))


def test_where_not_all_came_the_last_one_never_did() -> None:
    *_, row = balloon_rows(results("driver", run(targets=6, targets_reached=4, target_s=9.9)))
    assert row.split()[2:7] == ["4", "of", "6", "never", "-"]


def test_the_report_tells_of_balloons_too() -> None:
    made = page(results("driver", FOLLOWED), [], [], "")
    assert "<h2>Balloons</h2>" in made and "PER KEPT" in made and "5,000" in made
    assert "Balloons" not in page(results("wave", FOLLOWED), [], [], "")


def test_pages_moved_are_those_inflated_and_those_deflated() -> None:
    assert moved_pages(run(inflated_pages=10, kept_pages=10)) == 10
    assert moved_pages(run(inflated_pages=10, kept_pages=0)) == 20
    assert moved_pages(run()) is None


def test_other_experiments_have_no_such_rows() -> None:
    assert list(balloon_rows(results("wave", FOLLOWED))) == []


@pytest.mark.parametrize(
    ("extra", "target", "ratio"),
    [
        ({}, "-", None),
        ({"targets": 6, "targets_reached": 4}, "4 of 6", None),
        ({"inflated_pages": 5, "kept_pages": 0}, "-", None),
        ({"inflated_pages": None, "kept_pages": None}, "-", None),
    ],
)
def test_what_is_not_known_is_not_told(extra: dict[str, Any], target: str, ratio: float | None) -> None:
    assert (target_text(run(**extra)), per_kept(run(**extra))) == (target, ratio)
    assert "None" not in "\n".join(balloon_rows(results("driver", run(**extra))))
