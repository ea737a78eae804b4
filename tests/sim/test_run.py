"""Runs: the same seed gives the same result, wherever it is run; the oracle and the others."""

import subprocess
import sys

import msgspec
import pytest

from autoballoon.policies import POLICIES
from autoballoon.sim.run import run_all, simulate, world_of
from autoballoon.sim.scenario import load
from autoballoon.views.sim_results import ORACLE, Result

SCRIPT = """
import sys, msgspec
from autoballoon.sim.run import run_all
sys.stdout.buffer.write(msgspec.json.encode(list(run_all(sys.argv[1:2], sys.argv[2:], 5, 1))))
"""


def run(name: str, policy: str, seed: int = 1) -> Result:
    return simulate(name, policy, world_of(load(name), policy, seed))


@pytest.mark.parametrize("policy", [*POLICIES, ORACLE])
def test_the_same_seed_gives_the_same_result(policy: str) -> None:
    assert run("byzantine", policy, 3) == run("byzantine", policy, 3)


def test_another_process_with_other_hashes_gives_the_same_result() -> None:
    there = subprocess.run(
        [sys.executable, "-c", SCRIPT, "byzantine", "ladder"],
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": "12345", "PYTHONPATH": ":".join(sys.path)},
    )
    assert msgspec.json.decode(there.stdout, type=list[Result]) == [run("byzantine", "ladder", 5)]


def test_another_seed_gives_another_world() -> None:
    assert run("byzantine", "static", 1).lost_s != run("byzantine", "static", 2).lost_s


def test_processes_do_what_one_does() -> None:
    names, policies = ["squeezed-wants-8g", "tmpfs"], ["ladder", "static"]
    alone = list(run_all(names, policies, 1, 1))
    together = sorted(run_all(names, policies, 1, 2), key=lambda one: (one.scenario, one.policy))
    assert together == sorted(alone, key=lambda one: (one.scenario, one.policy))
    assert len(alone) == 4


def test_who_moves_nothing_moves_nothing() -> None:
    assert run("sawtooth", "static").moves == 0


@pytest.mark.parametrize("name", ["sawtooth", "grow-7g-in-10s", "squeezed-wants-8g", "windows"])
def test_the_oracle_starves_nobody_where_needs_fit(name: str) -> None:
    oracle, static = run(name, ORACLE), run(name, "static")
    assert oracle.over_s == 0
    assert oracle.host_swap_pages == 0
    assert oracle.longest_starving_s < 0.5
    assert oracle.lost_s < static.lost_s / 2
