from collections.abc import Callable

import msgspec

from autoballoon.core.units import MIB
from autoballoon.views.lab_results import ArmResult, Results, Run
from autoballoon.views.lab_table import headline, notes, table

MakeRun = Callable[..., Run]


def line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_every_run_has_its_line_beside_the_numbers_of_2013(results: Results) -> None:
    text = table(results)
    assert line(text, "off ").split() == ["off", "1", "8.00", "500,000", "700,000", "8/8", "0", "2.50"]
    assert "off                1       634      930,980    1,588,522" in text
    assert "on against off, round 1: in at least 500,000x fewer, out 58,333x fewer" in text
    assert "One round of each arm" in text
    assert "MISSED" not in text


def test_a_load_that_is_not_the_usual_stands_above_the_table(make_peers: Callable[..., Results]) -> None:
    other = msgspec.structs.replace(make_peers(), differs=["--phases 1"])
    assert table(other).startswith("peers: 8 guests under 2600 MiB, --phases 1; 2 cores")


def test_a_noisy_run_was_repeated_only_where_there_is_another(results: Results, make_run: MakeRun) -> None:
    runs = [make_run(noisy=True), make_run(noisy=True), make_run(round=2, noisy=True), make_run(round=2)]
    said = notes(msgspec.structs.replace(results, arms=[ArmResult("yardstick", None, None, runs)]))
    assert said == [
        "yardstick, round 1: the machine swapped by itself, so the run was repeated.",
        "yardstick, round 1: the machine swapped by itself, so nothing is judged by this run.",
        "yardstick, round 2: the machine swapped by itself, so the run was repeated.",
    ]


def test_what_was_missed_is_said(results: Results, make_run: MakeRun) -> None:
    arms = [
        msgspec.structs.replace(arm, runs=[make_run(swap_in_pages=400_000, swap_out_pages=1)])
        if arm.name == "on"
        else arm
        for arm in results.arms
    ]
    text = table(msgspec.structs.replace(results, arms=arms))
    assert "MISSED     on swaps in at least 713x fewer pages than off, in every run: 1.25x fewer" in text


def test_the_time_of_a_run_that_did_not_finish_is_a_lower_bound(results: Results, make_run: MakeRun) -> None:
    run = make_run(finished=6, extra={"worst_phase_s": 90.0, "notes": ["guest-3 did not finish"]})
    text = table(msgspec.structs.replace(results, arms=[ArmResult("off", None, 1, [run])]))
    assert line(text, "off ").split()[2] == ">8.00"
    assert "off, round 1: guest-3 did not finish" in text


def test_a_ratio_of_a_time_that_is_a_lower_bound_is_one_too(results: Results, make_run: MakeRun) -> None:
    lost = [
        msgspec.structs.replace(arm, runs=[make_run(finished=7)]) if arm.name == "on" else arm
        for arm in results.arms
    ]
    text = table(msgspec.structs.replace(results, arms=lost))
    assert "on / yardstick: time >1.00x, one round; worst phase >1.00x, one round\n" in text
    assert "off / yardstick: time 1.00x, one round; worst phase 1.00x, one round\n" in text


def test_the_headline_names_a_policy_that_is_not_ours(results: Results) -> None:
    other = [msgspec.structs.replace(arm, policy="mom") if arm.name == "on" else arm for arm in results.arms]
    assert headline(msgspec.structs.replace(results, arms=other)).startswith(
        "With autoballoon under the policy mom the host swapped in 0 pages"
    )


def test_the_headline_compares_only_what_was_run(results: Results) -> None:
    assert headline(results) == (
        "With autoballoon the host swapped in 0 pages instead of 500,000 and out 12 instead of 700,000; "
        "its guests were busy for 8.0 s instead of 8.0 s, and 8.0 s if memory were endless."
    )
    alone = msgspec.structs.replace(results, arms=results.arms[:1])
    assert headline(alone) == "wave: yardstick measured."


def test_what_the_yardstick_held_tells_how_small_the_host_is(over: Results, make_run: MakeRun) -> None:
    assert "of that" not in table(over)
    yardstick = msgspec.structs.replace(over.arms[0], runs=[make_run(extra={"held_peak": 3200 * MIB})])
    told = table(msgspec.structs.replace(over, arms=[yardstick, *over.arms[1:]]))
    assert "yardstick held 3200 MiB at most; 2000 MiB are 62% of that\n" in told
    assert "yardstick held 3200 MiB at most; 1600 MiB are 50% of that\n" in told


def test_how_late_guests_woke_is_told_arm_by_arm(results: Results, make_run: MakeRun) -> None:
    assert "late" not in table(results)
    late = [
        make_run(extra={"late_s": [[0.1, 0.2], [1.0, 1.0], [0.5], []]}),
        make_run(extra={"late_s": [[0.7]]}),
        make_run(extra={"late_s": [[], []]}),
    ]
    never = make_run(extra={"late_s": [[0.0]]})  # its phases have no sleep
    arms = [ArmResult("off", None, 1, late), ArmResult("reporting", None, 1, [never])]
    text = table(msgspec.structs.replace(results, arms=arms))
    says = "off: guests woke late by 0.60 s (0.50 to 0.70, 2 rounds) in all, the median of them; TIME leaves that out"
    assert says in text.splitlines()
    assert text.count("late") == 1
