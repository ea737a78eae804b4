from typing import Any

import msgspec
import pytest

from autoballoon.views.lab_measure import at_rank
from autoballoon.views.lab_results import ArmResult, Machine, Results, Run
from autoballoon.views.lab_table import table
from autoballoon.views.lab_verdict import verdicts
from autoballoon.views.lab_voice import voice_rows

MACHINE = Machine(cores=2, ram=2**33, accel="tcg", kernel="6.1.0", qemu="QEMU 7.2", cgroup="v1")


def run(time_s: float = 3.0, round_: int = 1, **extra: Any) -> Run:
    return Run(
        round=round_, wall_s=9.0, work_s=[time_s], finished=1, swap_in_pages=1000, swap_out_pages=2000, guest_oom=1,
        guests=1, extra=extra,
    )  # fmt: skip


def results(*runs: Run, name: str = "guest-side") -> Results:
    arms = [
        ArmResult(name="yardstick", policy=None, limit=None, runs=[run(2.0)]),
        ArmResult(name="agent", policy="ladder", limit=2**30, runs=list(runs)),
    ]
    return Results(experiment=name, machine=MACHINE, command="", arms=arms)


TOLD: dict[str, Any] = {
    "first_s": [0.05, 0.25, 0.04], "whole_s": [0.9, None, 0.8], "guests_psi_s": 1.25, "inflated_pages": 500,
    "kept_pages": 100, "first_short_s": [0.02, 0.07], "whole_short_s": [0.6, 0.5],
}  # fmt: skip


def test_a_row_tells_what_it_cost_and_how_soon_guests_were_given() -> None:
    *_, row = voice_rows(results(run(**TOLD)))
    assert row.split() == [
        "agent", "1.50x", "1,000", "2,000", "1", "1.25", "900", "3", "50", "250", "900", "never",
        "2", "20", "70", "500", "600",
    ]  # fmt: skip
    assert row in table(results(run(**TOLD)))


def test_rounds_are_put_together_and_what_one_does_not_know_is_not_told() -> None:
    *_, row = voice_rows(results(run(**TOLD), run(round_=2, first_s=[0.01], whole_s=[0.02])))
    assert row.split()[4:9] == ["2", "-", "-", "4", "40"]


def test_an_arm_without_spikes_has_no_times_and_other_experiments_no_rows() -> None:
    *_, row = voice_rows(results(run(first_s=[], whole_s=[], guests_psi_s=0.0)))
    assert row.split()[4:] == ["1", "0.00", "-", *(2 * ["0", "-", "-", "-", "-"])]
    assert list(voice_rows(results(run(**TOLD), name="wave"))) == []


@pytest.mark.parametrize(
    ("times", "part", "found"),
    [([], 0.5, None), ([3.0], 0.99, 3.0), ([2.0, 1.0], 0.5, 1.0), ([2.0, None], 0.99, None), ([None, 2.0], 0.5, 2.0)],
)  # fmt: skip
def test_a_time_that_never_came_is_later_than_any(
    times: list[float | None], part: float, found: float | None
) -> None:
    assert at_rank(times, part) == found


def test_a_hundredth_is_judged_from_three_hundred_spikes_on() -> None:
    few = verdicts(results(run(**TOLD)))[:4]
    assert [verdict.met for verdict in few] == [None] * 4
    times = [0.05] * 296 + [0.4] * 4
    slow = verdicts(results(run(first_s=[0.9] * 300, first_short_s=times)))[:4]
    assert [verdict.met for verdict in slow] == [False, False, True, False]
    assert [verdict.measured for verdict in slow[1:]] == ["900 ms of 300", "50 ms of 300", "400 ms of 300"]


@pytest.mark.parametrize(
    ("asked_s", "says"),
    [
        (0.15, "150 if asked, 100 with the agent: asked-for statistics come close"),
        (0.16, "160 if asked, 100 with the agent: asked-for statistics do not come close"),
        (None, "never if asked, 100 with the agent: asked-for statistics do not come close"),
    ],
)
def test_whether_asking_does_as_well_as_an_agent_is_said(asked_s: float | None, says: str) -> None:
    found = results(run(first_s=[0.5, 0.5], first_short_s=[0.1]))
    asked = ArmResult(
        name="asked", policy="ladder", limit=2**30, runs=[run(first_s=[0.5], first_short_s=[asked_s])]
    )
    both = msgspec.structs.replace(found, arms=[*found.arms, asked])
    *_, from_short, from_first = voice_rows(both)
    assert says in from_short and "when guests ran short" in from_short
    assert "500 if asked, 500 with" in from_first and from_first in table(both)
    assert not any("if asked" in row for row in voice_rows(found))
