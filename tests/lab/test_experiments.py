import pytest

from autoballoon.core.errors import BadInput
from autoballoon.core.units import MIB
from autoballoon.lab.experiments import EXPERIMENTS, OFF, ON, YARDSTICK, arms_named, experiment_named
from autoballoon.lab.run import swap_size
from autoballoon.lab.runner import with_guests


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


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_the_swap_file_holds_all_that_the_limit_leaves_out(experiment: object) -> None:
    for found in EXPERIMENTS:
        assert swap_size(found) + found.limit > found.guests * found.memory_mib * MIB + 1024 * MIB
