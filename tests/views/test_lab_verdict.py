from collections.abc import Callable

import msgspec
import pytest

from autoballoon.core.units import MIB
from autoballoon.views.lab_measure import factor_text, time_ratios
from autoballoon.views.lab_results import ArmResult, Machine, Results, Run
from autoballoon.views.lab_verdict import verdicts

MakeRun = Callable[..., Run]


def replaced(results: Results, name: str, *runs: Run) -> Results:
    arms = [
        msgspec.structs.replace(arm, runs=list(runs)) if arm.name == name else arm for arm in results.arms
    ]
    return msgspec.structs.replace(results, arms=arms)


def missed(results: Results) -> list[str]:
    return [verdict.asks for verdict in verdicts(results) if verdict.met is False]


def test_canned_results_reach_everything(results: Results) -> None:
    assert {verdict.met for verdict in verdicts(results)} == {True}


@pytest.mark.parametrize(
    ("differs", "named"),
    [
        ({"swap_in_pages": 702}, "swaps in at least 713x fewer pages than off"),
        ({"swap_out_pages": 12_100}, "than reporting"),
        ({"work_s": [10.1] * 8}, "busy time of on is at most 1.25 x"),
        ({"extra": {"worst_phase_s": 5.1}}, "worst phase of on is at most 2 x"),
        ({"guest_oom": 1}, "no OOM kill"),
        ({"finished": 7}, "every guest finishes"),
        ({"controller_cpu_s": 2.4}, "less than 3% of one core"),
        ({"controller_cpu_s": None}, "the controller lives"),
        ({"extra": {"controller_died": "it ended with 3"}}, "the controller lives"),
        ({"controller_rss": 60 * MIB}, "60 MiB"),
    ],
)
def test_each_criterion_can_be_missed(
    results: Results, make_run: MakeRun, differs: dict[str, object], named: str
) -> None:
    controlled = {"controller_cpu_s": 1.6, "controller_rss": 40 * MIB}
    bad = make_run(**{**controlled, **differs})
    assert any(named in asks for asks in missed(replaced(results, "on", bad)))


def test_the_worst_round_speaks_for_swap_and_the_median_for_time(results: Results, make_run: MakeRun) -> None:
    rounds = (1, 2, 3)
    results = replaced(results, "yardstick", *(make_run(round=n, work_s=[4.0]) for n in rounds))
    results = replaced(
        results, "off", *(make_run(round=n, swap_in_pages=100_000, swap_out_pages=1) for n in rounds)
    )
    on = [make_run(round=n, work_s=[4.0 * n], swap_in_pages=1000 * (n == 3)) for n in rounds]
    results = replaced(results, "on", *on)
    said = {verdict.asks: verdict for verdict in verdicts(results)}
    swap = next(v for asks, v in said.items() if "swaps in" in asks and "off" in asks)
    assert (swap.met, swap.measured) == (False, "100x fewer (100,000 -> 1,000)")
    time = next(v for asks, v in said.items() if "busy time" in asks)
    assert (time.met, time.measured) == (False, "2.00x (1.00 to 3.00, 3 rounds)")


def test_a_noisy_yardstick_is_not_paired_when_there_is_a_quiet_one(
    results: Results, make_run: MakeRun
) -> None:
    noisy, quiet = make_run(noisy=True, work_s=[80.0]), make_run(work_s=[4.0])
    results = replaced(results, "yardstick", noisy, quiet)
    assert time_ratios(results, "on", "yardstick") == [2.0]


def test_nothing_left_is_a_lower_bound_and_nothing_at_all_is_not_judged(
    results: Results, make_run: MakeRun
) -> None:
    assert factor_text(634, 0) == "at least 634x fewer"
    calm = replaced(results, "off", make_run())
    swap = next(v for v in verdicts(calm) if "swaps in" in v.asks and "off" in v.asks)
    assert swap.met is None


def test_the_criteria_of_a_size_hold_for_that_size_and_eight_guests_only(
    results: Results, make_run: MakeRun
) -> None:
    few = [msgspec.structs.replace(arm, runs=[make_run(guests=3, finished=3)]) for arm in results.arms]
    small = msgspec.structs.replace(results, arms=few)
    assert not any("713" in verdict.asks for verdict in verdicts(small))
    assert judged(small, "and 8 guests on 2600 or 2000 or 1600 MiB") == (
        None, "this was 3 guests under 2600 MiB",
    )  # fmt: skip
    arms = [msgspec.structs.replace(arm, limit=2000 * MIB if arm.limit else None) for arm in results.arms]
    tight = verdicts(msgspec.structs.replace(results, arms=arms))
    assert any("at most 0.333 x that of off" in v.asks and v.met is False for v in tight)


@pytest.mark.parametrize(("pages", "met"), [(998, True), (999, False)])
def test_hostload_counts_both_ways(results: Results, make_run: MakeRun, pages: int, met: bool) -> None:
    run = make_run(swap_in_pages=1, swap_out_pages=pages, extra={"host_took": 400 * MIB})
    arm = ArmResult("on", "ladder", 3000 * MIB, [run])
    found = verdicts(msgspec.structs.replace(results, experiment="hostload", arms=[arm]))
    assert found[0].met is met


@pytest.mark.parametrize(
    ("differs", "why"),
    [
        (
            {"extra": {"host_took": None}},
            "the host's process is not known to have taken its memory in round 1",
        ),
        ({}, "the host's process is not known to have taken its memory in round 1"),  # of an older lab
        ({"extra": {"host_took": 1}, "finished": 7}, "not every guest of on finished in round 1"),
    ],
)
def test_hostload_without_its_load_or_a_guest_is_not_judged(
    results: Results, make_run: MakeRun, differs: dict[str, object], why: str
) -> None:
    arm = ArmResult("on", "ladder", 3000 * MIB, [make_run(**differs)])
    found = verdicts(msgspec.structs.replace(results, experiment="hostload", arms=[arm]))
    assert (found[0].met, found[0].measured) == (None, f"0 pages; {why}")


@pytest.mark.parametrize("name", ["hostload", "build"])
def test_a_host_that_limits_nothing_reaches_nothing(results: Results, make_run: MakeRun, name: str) -> None:
    arms = [ArmResult(arm, None, 5000 * MIB, [make_run()]) for arm in ("off@plain", "on@plain")]
    arms += [ArmResult("yardstick@plain", None, None, [make_run()])]
    (found,) = verdicts(msgspec.structs.replace(results, experiment=name, arms=arms))
    assert (found.met, found.measured) == (None, "this was 8 guests under 5000 MiB")
    assert "or for fewer with as much for each" in found.asks


def test_a_run_that_lost_a_guest_reaches_no_time(results: Results, make_run: MakeRun) -> None:
    """The guest's time ended early, and the others had its memory."""
    lost = replaced(results, "on", make_run(finished=7, controller_cpu_s=1.6, controller_rss=40 * MIB))
    why = "not every guest of on finished in round 1"
    for words in ("busy time of on", "worst phase of on"):
        assert judged(lost, words) == (None, why)
    assert judged(lost, "in at least 713x fewer pages than off") == (
        None, f"at least 500,000x fewer (500,000 -> 0); {why}",
    )  # fmt: skip


@pytest.mark.parametrize(("finished", "met"), [((8, 8, 7), True), ((8, 7, 7), None)])
def test_rounds_that_lost_guests_count_as_the_slowest(
    results: Results, make_run: MakeRun, finished: tuple[int, ...], met: bool | None
) -> None:
    results = replaced(results, "yardstick", *(make_run(round=n) for n in (1, 2, 3)))
    results = replaced(results, "on", *(make_run(round=n, finished=f) for n, f in enumerate(finished, 1)))
    found, measured = judged(results, "busy time of on")
    assert found is met
    assert measured.startswith("1.00x")
    assert measured.endswith("finished in round 3" if met else "finished in round 2 and 3")


@pytest.mark.parametrize(
    ("on_s", "met", "measured"),
    [(4.0, True, "at most 0.40x, one round"), (6.0, None, "at most 0.60x, one round")],
)
def test_a_base_that_nobody_finished_is_a_lower_bound(
    results: Results, make_run: MakeRun, on_s: float, met: bool | None, measured: str
) -> None:
    """So the ratio is an upper one: what is below it was reached, and what is not may have been."""
    arms = [msgspec.structs.replace(arm, limit=1600 * MIB if arm.limit else None) for arm in results.arms]
    tight = replaced(
        msgspec.structs.replace(results, arms=arms), "off", make_run(work_s=[10.0] * 8, finished=0)
    )
    tight = replaced(tight, "on", make_run(work_s=[on_s] * 8))
    assert judged(tight, "busy time of on") == (met, measured)


def test_no_kill_is_not_known_of_guests_that_told_nothing(results: Results, make_run: MakeRun) -> None:
    cost = {"controller_cpu_s": 1.6, "controller_rss": 40 * MIB}
    hung = replaced(results, "on", make_run(finished=7, extra={"oom_untold": 1}, **cost))
    assert judged(hung, "no OOM kill") == (None, "0, and 1 of 16 guests did not tell")
    told = replaced(results, "on", make_run(finished=7, extra={"oom_untold": 0}, **cost))
    assert judged(told, "no OOM kill") == (True, "0")
    killed = replaced(results, "on", make_run(finished=6, guest_oom=1, extra={"oom_untold": 1}, **cost))
    assert judged(killed, "no OOM kill") == (False, "1, and 1 of 16 guests did not tell")


def test_another_load_or_policy_is_not_judged_by_what_is_stated_for_the_usual(results: Results) -> None:
    other = msgspec.structs.replace(results, differs=["--policy mom", "--period 10"])
    assert judged(other, "is stated for") == (
        None, "this was 8 guests under 2600 MiB, --policy mom, --period 10",
    )  # fmt: skip
    assert not any("busy time" in verdict.asks for verdict in verdicts(other))
    assert judged(other, "every guest finishes")[0] is True


MakePeers = Callable[..., Results]


def judged(results: Results, words: str) -> tuple[bool | None, str]:
    (found,) = [verdict for verdict in verdicts(results) if words in verdict.asks]
    return found.met, found.measured


def test_the_ladder_is_judged_by_the_best_of_the_others(make_peers: MakePeers) -> None:
    assert {verdict.met for verdict in verdicts(make_peers())} == {True}
    assert judged(make_peers(), "busy time of ladder@fast") == (
        True,
        "0.91 x that of squeezed@fast, the best of them",
    )
    assert judged(make_peers(mom_fast={"work_s": [4.8] * 8}), "busy time of ladder@fast") == (
        True, "1.04 x that of mom@fast, the best of them",
    )  # fmt: skip
    lost = make_peers(mom_fast={"work_s": [4.7] * 8})
    assert judged(lost, "busy time of ladder@fast") == (False, "1.06 x that of mom@fast, the best of them")
    assert judged(lost, "busy time of ladder@slow")[0] is True


@pytest.mark.parametrize(("pages", "met"), [(1000, True), (1001, False)])
def test_the_ladder_swaps_no_more_than_the_best_of_the_others(
    make_peers: MakePeers, pages: int, met: bool
) -> None:
    results = make_peers(ladder_slow={"swap_in_pages": pages, "swap_out_pages": 0})
    assert judged(results, "ladder@slow swaps no more") == (met, f"+{pages:,} pages against squeezed@slow")


def test_a_ladder_that_lost_a_guest_is_not_the_best(make_peers: MakePeers) -> None:
    why = "not every guest of ladder@fast finished in round 1 and 2"
    lost = make_peers(ladder_fast={"finished": 7})
    assert judged(lost, "busy time of ladder@fast") == (None, f"beside squeezed@fast: {why}")
    assert judged(lost, "ladder@fast swaps no more") == (None, f"+200 pages against squeezed@fast; {why}")


def test_a_rule_that_lost_guests_is_not_better_for_it(make_peers: MakePeers) -> None:
    lost = make_peers(mom_fast={"finished": 3, "work_s": [1.0] * 8})
    assert judged(lost, "busy time of ladder@fast") == (
        None, "beside mom@fast: at most 5.00x (5.00 to 5.00, 2 rounds)",
    )  # fmt: skip
    slower = make_peers(mom_fast={"finished": 3, "work_s": [1.0] * 8}, squeezed_fast={"work_s": [4.0] * 8})
    assert judged(slower, "busy time of ladder@fast") == (
        False, "1.25 x that of squeezed@fast, the best of them",
    )  # fmt: skip


def test_what_a_published_rule_does_to_its_guests_is_not_held_against_us(make_peers: MakePeers) -> None:
    assert {v.met for v in verdicts(make_peers(mom_fast={"finished": 3, "guest_oom": 5}))} == {True}
    ours = make_peers(ladder_fast={"guest_oom": 1})
    assert judged(ours, "no OOM kill")[0] is False


def test_without_a_rival_nothing_is_judged(make_peers: MakePeers) -> None:
    alone = make_peers()
    arms = [arm for arm in alone.arms if arm.short in ("ladder", "yardstick")]
    found = verdicts(msgspec.structs.replace(alone, arms=arms))
    assert [v.met for v in found if "busy time" in v.asks] == [None, None]


def test_canned_overloads_reach_everything(over: Results) -> None:
    assert {verdict.met for verdict in verdicts(over)} == {True}


@pytest.mark.parametrize(
    ("name", "busy_s", "asks"),
    [
        ("host-swap@2000", 5.1, "busy time of host-swap@2000 is at most 0.333 x that of off@2000"),
        ("host-swap@1600", 10.1, "busy time of host-swap@1600 is at most 0.5 x that of off@1600"),
        ("guest-swap@2000", 15.1, "busy time of guest-swap@2000 is at most 1 x that of off@2000"),
        ("suspend@1600", 20.1, "busy time of suspend@1600 is at most 1 x that of off@1600"),
    ],
)
def test_each_choice_can_be_too_slow(
    over: Results, make_run: MakeRun, name: str, busy_s: float, asks: str
) -> None:
    slow = make_run(work_s=[busy_s] * 8, controller_cpu_s=1.6, controller_rss=40 * MIB)
    assert any(asks in said for said in missed(replaced(over, name, slow)))


def test_a_guest_that_is_stopped_is_not_busy_but_late(over: Results, make_run: MakeRun) -> None:
    cost = {"controller_cpu_s": 1.6, "controller_rss": 40 * MIB}
    late = make_run(work_s=[5.0] * 8, wall_s=95.0, extra={"go_s": 30.0}, **cost)
    found = replaced(over, "suspend@2000", late)
    assert judged(found, "busy time of suspend@2000")[0] is True
    assert judged(found, "time after the go of suspend@2000") == (False, "1.30x, one round")


def test_overloads_of_fewer_guests_are_not_judged_by_those_of_eight(over: Results, make_run: MakeRun) -> None:
    arms = [
        msgspec.structs.replace(arm, runs=[msgspec.structs.replace(run, guests=3) for run in arm.runs])
        for arm in over.arms
    ]
    assert not any("busy time" in v.asks for v in verdicts(msgspec.structs.replace(over, arms=arms)))


@pytest.mark.parametrize(
    ("differs", "missed_"),
    [
        ({}, []),
        ({"work_s": [31.6] * 6}, ["at most 1.05 x that of yardstick@swap"]),
        ({"guest_oom": 1}, ["no OOM kill"]),
        ({"finished": 5}, ["every guest finishes"]),
    ],
)
def test_build_is_judged_in_each_variant(
    machine: Machine, make_run: MakeRun, differs: dict[str, object], missed_: list[str]
) -> None:
    def arm(name: str, policy: str | None, **fields: object) -> ArmResult:
        run = make_run(**{"work_s": [30.0] * 6, "guests": 6, "finished": 6, **fields})
        return ArmResult(name, policy, None if "yardstick" in name else 2090 * MIB, [run])

    cost = {"controller_cpu_s": 1.6, "controller_rss": 40 * MIB}
    arms = [arm(f"{name}@{variant}", None) for variant in ("plain", "swap") for name in ("yardstick", "off")]
    arms += [arm("on@plain", "ladder", **cost), arm("on@swap", "ladder", **{**cost, **differs})]
    found = missed(Results(experiment="build", machine=machine, command="", arms=arms))
    assert len(found) == len(missed_)
    assert all(part in asks for part, asks in zip(missed_, found, strict=True))


@pytest.mark.parametrize(("on_s", "met"), [(6.0, True), (7.1, False)])
def test_what_is_lost_is_judged_beyond_the_yardstick(
    results: Results, make_run: MakeRun, on_s: float, met: bool
) -> None:
    """Of the 13 s of off the 4 of the yardstick are no loss."""
    arms = [msgspec.structs.replace(arm, limit=2000 * MIB if arm.limit else None) for arm in results.arms]
    tight = msgspec.structs.replace(results, arms=arms)
    for name, busy_s in (("yardstick", 4.0), ("off", 13.0), ("on", on_s)):
        tight = replaced(tight, name, make_run(work_s=[busy_s]))
    (lost,) = [verdict for verdict in verdicts(tight) if "loses to missing memory" in verdict.asks]
    assert lost.met is met


@pytest.mark.parametrize(
    ("off_s", "on_s", "met", "measured"),
    [
        ((20.0, 8.9, 8.9), (10.0, 15.0, 15.0), False, "0.09x, one round; off has none of it in round 2 and 3"),
        ((20.0, 20.0, 8.9), (10.0, 10.0, 15.0), True, "0.09x (0.09 to 0.09, 2 rounds); off has none of it in round 3"),
        ((20.0, 8.9, 8.9), (10.0, 8.0, 8.0), True, "0.09x, one round"),
        ((8.9,), (8.0,), None, "off, on and a quiet yardstick were not all run, or neither lost any"),
    ],
)  # fmt: skip
def test_a_round_in_which_only_on_lost_time_speaks_against_it(
    results: Results,
    make_run: MakeRun,
    off_s: tuple[float, ...],
    on_s: tuple[float, ...],
    met: bool | None,
    measured: str,
) -> None:
    arms = [msgspec.structs.replace(arm, limit=2000 * MIB if arm.limit else None) for arm in results.arms]
    tight = msgspec.structs.replace(results, arms=arms)
    for name, times in (("yardstick", [9.0] * len(on_s)), ("off", off_s), ("on", on_s)):
        tight = replaced(tight, name, *(make_run(round=n, work_s=[s]) for n, s in enumerate(times, 1)))
    assert judged(tight, "loses to missing memory") == (met, measured)


def test_a_round_in_which_all_guests_were_killed_at_once_speaks_against_the_arm(
    results: Results, make_run: MakeRun
) -> None:
    results = replaced(results, "yardstick", *(make_run(round=n, work_s=[9.0] * 8) for n in (1, 2)))
    killed = make_run(round=2, work_s=[0.0] * 8, finished=0, extra={"worst_phase_s": None})
    results = replaced(results, "on", make_run(work_s=[10.0] * 8), killed)
    why = "not every guest of on finished in round 2"
    assert judged(results, "busy time of on") == (None, f"1.11x, one round; {why}")
    assert judged(results, "worst phase of on") == (None, f"1.00x, one round; {why}")


@pytest.mark.parametrize("limit", [2600, 2000])
def test_a_yardstick_that_swapped_is_nothing_to_judge_by(
    results: Results, make_run: MakeRun, limit: int
) -> None:
    arms = [msgspec.structs.replace(arm, limit=limit * MIB if arm.limit else None) for arm in results.arms]
    noisy = [make_run(noisy=True, swap_in_pages=9000)] * 2
    found = verdicts(replaced(msgspec.structs.replace(results, arms=arms), "yardstick", *noisy))
    beside = [v for v in found if "yardstick" in v.asks or "loses to missing memory" in v.asks]
    assert beside
    for verdict in beside:
        assert verdict.met is None
        assert (
            "swapped by itself in every run of yardstick" in verdict.measured or "quiet" in verdict.measured
        )


def test_headrooms_half_as_large_are_judged_by_time_swap_and_what_they_leave(
    results: Results, make_run: MakeRun
) -> None:
    def arm(name: str, **told: object) -> ArmResult:
        limit = None if name == "yardstick" else 2600 * MIB
        return ArmResult(
            name=name, policy=None, limit=limit, runs=[make_run(**{"work_s": [4.0] * 8, **told})]
        )

    arms = [
        arm("yardstick"),
        arm("off", swap_in_pages=713, swap_out_pages=75),
        arm("agent", work_s=[4.3] * 8, extra={"headrooms": 600 * MIB, "held_mean": 2100 * MIB}),
        arm(
            "half",
            work_s=[4.5] * 8,
            swap_out_pages=2,
            extra={"headrooms": 350 * MIB, "held_mean": 2200 * MIB},
        ),
    ]
    found = Results(experiment="headrooms", machine=results.machine, command="", arms=arms)
    judged = [(verdict.met, verdict.measured) for verdict in verdicts(found)]
    assert judged == [
        (True, "1.07x, one round"),
        (True, "at least 713x fewer (713 -> 0)"),
        (False, "37.5x fewer (75 -> 2)"),
        (False, "1.12x, one round"),
        (True, "250.00 MiB, one round"),
        (False, "-100.00 MiB, one round"),
    ]
    alone = msgspec.structs.replace(found, arms=arms[:3])
    assert [verdict.met for verdict in verdicts(alone)] == [True, None, None, None, None, None]
    assert verdicts(alone)[-1].measured == "agent and half were not both run"
    silent = msgspec.structs.replace(found, arms=[*arms[:3], arm("half", extra={"headrooms": 0})])
    assert [(verdict.met, verdict.measured) for verdict in verdicts(silent)[-2:]] == [
        (True, "600.00 MiB, one round"),
        (None, "agent and half do not both tell of it"),
    ]


def driven(machine: Machine, make_run: MakeRun, *arms: str, **differs: object) -> Results:
    """One round of these arms in *cache*, all alike; keywords are what differs in our driver's."""

    def arm(name: str) -> ArmResult:
        own = differs if name == "pressure" else {}
        told = {
            "targets": 6, "targets_reached": 6, "target_s": 10.0, "guests_cpu_s": 50.0, "inflated_pages": 900,
            "kept_pages": 900,
        }  # fmt: skip
        fields = {"guests": 6, "finished": own.get("finished", 6), "extra": {**told, **own}}
        return ArmResult(f"{name}@cache", None, 2090 * MIB, [make_run(**fields)])

    return Results(experiment="driver", machine=machine, command="", arms=[arm(name) for name in arms])


@pytest.mark.parametrize(
    ("differs", "judged"),
    [
        ({}, [True, True, True, True]),
        ({"target_s": 15.0, "guests_cpu_s": 62.5, "inflated_pages": 990}, [True, True, True, True]),
        ({"targets_reached": 5}, [False, None, True, True]),
        ({"target_s": 15.1}, [True, False, True, True]),
        ({"guests_cpu_s": 63.0}, [True, True, False, True]),
        ({"inflated_pages": 1000}, [True, True, True, False]),
        ({"finished": 5}, [False, None, None, None]),
        ({"guests_cpu_s": 90.0, "go_cpu_s": 50.0}, [True, True, True, True]),
    ],
)
def test_our_driver_is_judged_beside_linuxs(
    machine: Machine, make_run: MakeRun, differs: dict[str, object], judged: list[bool | None]
) -> None:
    found = verdicts(driven(machine, make_run, "stock", "pressure", **differs))
    assert [verdict.met for verdict in found] == judged


@pytest.mark.parametrize(("arm", "judged"), [("stock", [None] * 4), ("pressure", [True, None, None, None])])
def test_a_driver_that_was_not_run_is_not_judged(
    machine: Machine, make_run: MakeRun, arm: str, judged: list[bool | None]
) -> None:
    found = verdicts(driven(machine, make_run, arm))
    assert [verdict.met for verdict in found] == judged
    assert "stock@cache and pressure@cache were not both run" in found[1].measured
