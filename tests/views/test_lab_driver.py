from typing import Any

import pytest

from autoballoon.views.lab_driver import balloon_rows, per_kept, target_text
from autoballoon.views.lab_results import ArmResult, Machine, Results, Run
from autoballoon.views.lab_table import table

MACHINE = Machine(cores=2, ram=2**33, accel="tcg", kernel="6.1.0", qemu="QEMU 7.2", cgroup="v1")


def run(**extra: Any) -> Run:
    return Run(
        round=1, wall_s=9.0, work_s=[3.0], finished=1, swap_in_pages=1, swap_out_pages=2, guest_oom=0, guests=1,
        extra=extra,
    )  # fmt: skip


def results(name: str, *runs: Run) -> Results:
    arms = [ArmResult(name="stock+on@cache", policy="ladder", limit=2**30, runs=list(runs))]
    return Results(experiment=name, machine=MACHINE, command="", arms=arms)


FOLLOWED = run(inflated_pages=3000, kept_pages=1000, targets=6, targets_reached=6, target_s=2.5)


def test_a_row_tells_the_target_and_what_was_inflated_in_vain() -> None:
    *_, row = balloon_rows(results("driver", FOLLOWED))
    assert row.split() == ["stock+on@cache", "1", "reached", "2.5", "3,000", "1,000", "3.00", "0"]
    assert row in table(results("driver", FOLLOWED))


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
