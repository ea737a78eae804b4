from pathlib import Path

import msgspec
import pytest

from autoballoon.core.errors import BadInput
from autoballoon.core.units import MIB
from autoballoon.lab.arms import OFF, ON, YARDSTICK, Arm
from autoballoon.lab.experiments import EXPERIMENTS, Experiment, arms_named, experiment_named, with_guests
from autoballoon.lab.run import balloon_of, guests_size, swap_size, wave_of
from autoballoon.lab.runner import Wish, with_room
from autoballoon.policies import BASELINES
from autoballoon.views.lab_results import ArmResult, Machine, Results, Run
from autoballoon.views.lab_verdict import verdicts

MACHINE = Machine(cores=2, ram=1, accel="tcg", kernel="6.1", qemu="7.2", cgroup="v1")


def named(experiment: str, name: str) -> Arm:
    """The one arm of that name."""
    (arm,) = [arm for arm in experiment_named(experiment).every_arm if arm.name == name]
    return arm


def test_arms_come_in_the_order_of_the_table_whatever_the_order_asked() -> None:
    assert arms_named(experiment_named("wave"), "on, off,on", 1) == (OFF, ON)


def test_one_round_is_an_example_and_more_are_the_whole_table() -> None:
    wave = experiment_named("wave")
    assert arms_named(wave, None, 1) == (YARDSTICK, OFF, ON)
    assert arms_named(wave, None, 3) == arms_named(wave, "all", 1) == wave.arms


@pytest.mark.parametrize("names", ["", " , ", "off,sideways"])
def test_arms_that_do_not_exist_are_refused_with_those_that_do(names: str) -> None:
    with pytest.raises(BadInput, match=r"some of yardstick, off, reporting, on, on\+reporting"):
        arms_named(experiment_named("wave"), names, 1)


def test_an_unknown_experiment_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="'waves'; the experiments are wave, hostload"):
        experiment_named("waves")


def test_fewer_guests_keep_their_share_of_the_host() -> None:
    fewer = with_guests(experiment_named("wave"), 4)
    assert (fewer.guests, fewer.limit) == (4, 1300 * MIB)
    assert with_guests(fewer, 4) == fewer


def test_fewer_guests_are_beside_as_much_less_of_the_hosts_own() -> None:
    load = with_guests(experiment_named("hostload"), 3).hostload
    assert load is not None and load.mib == 150  # 400 of 3000 are 150 of 1125


@pytest.mark.parametrize(
    ("name", "guests", "limit", "is_stated"),
    [
        *((experiment.name, (experiment.guests,), None, True) for experiment in EXPERIMENTS),
        ("hostload", (3,), None, True),
        ("build", (5, 4), None, True),  # five asked for, of whom four fit
        ("hostload", (12,), None, False),
        ("wave", (6,), None, False),
        ("over", (4,), None, False),
        ("headrooms", (4,), None, False),
        ("hostload", (8,), 5000, False),
        ("hostload", (3,), 3000, False),
        ("build", (6,), 4000, False),
        ("headrooms", (8,), 4000, False),
        ("wave", (8,), 2000, True),
        ("wave", (8,), 3000, False),
    ],
)
def test_criteria_are_stated_for_the_experiments_own_host_and_guests(
    name: str, guests: tuple[int, ...], limit: int | None, is_stated: bool
) -> None:
    experiment = experiment_named(name)
    for number in guests:
        experiment = with_guests(experiment, number)
    if limit is not None:
        experiment = msgspec.structs.replace(experiment, limit=limit * MIB)
    run = Run(
        round=1, wall_s=1.0, work_s=[], finished=0, swap_in_pages=0, swap_out_pages=0, guest_oom=0,
        guests=experiment.guests,
    )  # fmt: skip
    arms = [ArmResult(arm.name, arm.policy, experiment.limit_of(arm), [run]) for arm in experiment.arms]
    results = Results(experiment=name, machine=MACHINE, command="", arms=arms)
    said = [verdict.asks for verdict in verdicts(results) if "is stated for" in verdict.asks]
    assert len(said) == (not is_stated)


def test_fewer_guests_keep_their_share_in_every_variant() -> None:
    fewer = with_guests(experiment_named("over"), 4)
    limits = {arm.name: fewer.limit_of(arm) for arm in fewer.arms}
    assert limits["yardstick"] is None
    assert limits["off@2000"] == limits["suspend@2000"] == 1000 * MIB
    assert limits["off@1600"] == 800 * MIB


def test_a_wish_for_fewer_guests_has_the_same_arms_with_their_share() -> None:
    over = experiment_named("over")
    wish = Wish(
        experiment=over, arms=arms_named(over, "off", 1), rounds=1, policy="ladder", accel="auto", beside=False,
        out=Path("out"), command="",
    )  # fmt: skip
    fewer = with_room(wish, 4)
    assert [(arm.name, fewer.experiment.limit_of(arm)) for arm in fewer.arms] == [
        ("off@2000", 1000 * MIB),
        ("off@1600", 800 * MIB),
    ]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_the_swap_file_holds_all_that_the_limit_leaves_out(experiment: Experiment) -> None:
    limits = {arm.name: experiment.limit_of(arm) for arm in experiment.every_arm}
    assert any(limits.values())
    for arm in experiment.every_arm:
        limit = limits[arm.name]
        if limit is not None:
            sizes = sum(arm.variant.size_mib(number) * MIB for number in range(experiment.guests))
            assert swap_size(experiment) + limit > sizes + 1024 * MIB


def test_peers_runs_every_policy_and_none_in_each_variant() -> None:
    peers = experiment_named("peers")
    everyone = ["yardstick", "off", "ladder", *BASELINES]
    for variant in ("fast", "slow", "sizes"):
        arms = [arm for arm in peers.arms if arm.variant.name == variant]
        assert [arm.short for arm in arms] == everyone
        assert [arm.name for arm in arms] == [f"{name}@{variant}" for name in everyone]
        assert [arm.policy for arm in arms] == [None, None, "ladder", *BASELINES]
        assert [arm.controller for arm in arms] == [False, False, *[True] * 6]
        assert {peers.limit_of(arm) for arm in arms if arm.limited} == {2600 * MIB}
        assert len({str(arm.variant) for arm in arms}) == 1
    assert [arm.name for arm in arms_named(peers, None, 1)] == [f"{name}@fast" for name in everyone]
    assert arms_named(peers, None, 3) == peers.arms


def test_arms_can_be_named_by_variant_by_policy_or_outright() -> None:
    peers = experiment_named("peers")
    assert [arm.name for arm in arms_named(peers, "mom, ladder", 1)] == [
        "ladder@fast", "mom@fast", "ladder@slow", "mom@slow", "ladder@sizes", "mom@sizes",
    ]  # fmt: skip
    assert arms_named(peers, "@slow", 1) == tuple(arm for arm in peers.arms if arm.variant.name == "slow")
    assert [arm.name for arm in arms_named(peers, "off@sizes,mom@fast", 1)] == ["mom@fast", "off@sizes"]
    with pytest.raises(
        BadInput, match=r"'@swift'; the arms are all, or some of yardstick, off, .*, @fast, @slow"
    ):
        arms_named(peers, "@swift", 1)


def test_over_runs_each_choice_on_each_host() -> None:
    over = experiment_named("over")
    found = [(arm.name, over.limit_of(arm), arm.policy, arm.overload) for arm in over.arms]
    assert found == [
        ("yardstick", None, None, "host-swap"),
        *(
            (f"{name}@{size}", size * MIB, policy, choice)
            for size in (2000, 1600)
            for name, policy, choice in (
                ("off", None, "host-swap"),
                ("host-swap", "ladder", "host-swap"),
                ("guest-swap", "ladder", "guest-swap"),
                ("suspend", "ladder", "suspend"),
            )
        ),
    ]
    # Of guests without an agent nobody knows whether they have swap: guest-swap would be host-swap.
    assert over.guest_swap_mib > 0 and over.sides
    assert {arm.short for arm in over.arms if arm.side == "agent"} == {"guest-swap"}
    assert {arm.side for arm in over.arms} == {None, "agent"}


def test_build_runs_off_and_on_with_and_without_swap_in_the_guests() -> None:
    build = experiment_named("build")
    assert [(arm.name, build.guest_swap_of(arm)) for arm in build.arms] == [
        ("yardstick@plain", 0), ("off@plain", 0), ("on@plain", 0),
        ("yardstick@swap", 512), ("off@swap", 512), ("on@swap", 512),
    ]  # fmt: skip
    assert [arm.name for arm in arms_named(build, None, 1)] == ["yardstick@plain", "off@plain", "on@plain"]
    shape = wave_of(build, build.arms[1], 3)
    assert shape["offset_ms"] == 3 * shape["period_ms"] // 6
    over = experiment_named("over")
    assert {over.guest_swap_of(arm) for arm in over.arms} == {512}


def test_guests_of_three_sizes_take_in_proportion_and_in_turn() -> None:
    peers, sizes = experiment_named("peers"), named("peers", "ladder@sizes")
    taken = [wave_of(peers, sizes, number)["anon_mib"] for number in range(4)]
    assert taken == [187, 250, 375, 187]  # 250 x 384 / 512 and 250 x 768 / 512
    # 384, 512, 768, 384, 512, 768, 384, 512 and eight times what a QEMU may take.
    assert guests_size(peers, sizes) == (4224 + 8 * 192) * MIB
    assert guests_size(peers, named("peers", "ladder@fast")) == (8 * 512 + 8 * 192) * MIB


def test_a_variant_has_its_own_waves_and_the_call_the_last_word() -> None:
    peers, slow = experiment_named("peers"), named("peers", "off@slow")
    assert wave_of(peers, slow, 2) == {
        "anon_mib": 250,
        "rate_mib": 25,
        "period_ms": 30_000,
        "offset_ms": 7500,
    }
    called = msgspec.structs.replace(peers, wave={"rate_mib": 60, "phases": 1})
    assert wave_of(called, slow, 0)["rate_mib"] == 60
    assert wave_of(called, slow, 0)["phases"] == 1


def test_driver_runs_each_driver_without_and_with_the_daemon_in_each_workload() -> None:
    driver = experiment_named("driver")
    everyone = ["fixed", "stock", "shrinker", "pressure", "never"]
    for variant, workload in (("wave", "wave"), ("build", "build"), ("cache", "cache")):
        arms = [arm for arm in driver.arms if arm.variant.name == variant]
        yardstick, *compared = arms
        assert (yardstick.short, driver.limit_of(yardstick), yardstick.squeeze_mib) == (
            "yardstick",
            None,
            None,
        )
        assert [arm.short for arm in compared] == [*everyone, *(f"{name}+on" for name in everyone)]
        assert [arm.controller for arm in compared] == [False] * 5 + [True] * 5
        assert [arm.driver for arm in compared] == [None, None, "shrinker", "pressure", "off"] * 2
        squeezed = [arm.short for arm in compared if arm.squeeze_mib is not None]
        assert squeezed == (everyone if variant == "cache" else [])
        assert {driver.workload_of(arm) for arm in arms} == {workload}
    assert [arm.short for arm in driver.arms if not arm.may_deflate] == ["fixed", "fixed+on"] * 3
    fixed, stock = named("driver", "fixed@cache"), named("driver", "stock@cache")
    assert "deflate-on-oom=off" in balloon_of(fixed) and "deflate-on-oom=on" in balloon_of(stock)
    assert driver.limit_of(fixed) == driver.limit_of(named("driver", "never+on@cache")) == 2090 * MIB
    assert arms_named(driver, None, 1) == tuple(arm for arm in driver.arms if arm.variant.name == "cache")


def test_guest_side_differs_in_how_guests_are_heard_and_in_nothing_else() -> None:
    voices = experiment_named("guest-side")
    assert [arm.name for arm in voices.arms] == [
        "yardstick", "once", "asked", "asked+reporting", "reporting", "fixed", "qga", "agent",
    ]  # fmt: skip
    assert [arm.name for arm in voices.arms if not arm.asks] == ["once"]
    assert {arm.name: arm.side for arm in voices.arms if arm.side} == {"agent": "agent", "qga": "qga"}
    assert arms_named(voices, None, 1) == voices.arms
    assert {one.name for one in EXPERIMENTS if one.sides} == {"over", "guest-side", "headrooms"}
    assert {one.name for one in EXPERIMENTS if one.spikes} == {"driver", "guest-side", "headrooms"}
    assert len({str(wave_of(voices, arm, 3)) for arm in voices.arms}) == 1


def test_headrooms_are_compared_on_the_load_of_the_wave() -> None:
    wave, headrooms = experiment_named("wave"), experiment_named("headrooms")
    assert [arm.name for arm in headrooms.arms] == ["yardstick", "off", "asked", "agent", "half"]
    assert (headrooms.limit, headrooms.period_ms) == (wave.limit, wave.period_ms)
    assert wave_of(headrooms, headrooms.arms[0], 3) == wave_of(wave, wave.arms[0], 3)
    assert {arm.name: arm.headroom for arm in headrooms.arms if arm.headroom} == {"half": "12.5%"}


def test_more_phases_are_waited_for() -> None:
    wave = experiment_named("wave")
    assert wave.patience_s == 300
    assert msgspec.structs.replace(wave, wave={"phases": 75}, period_ms=10_000).patience_s == 1500
