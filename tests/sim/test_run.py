"""Runs: the same seed gives the same result, wherever it is run; the oracle and the others."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import MIB
from autoballoon.policies import POLICIES
from autoballoon.sim import run as run_module
from autoballoon.sim.course import Seconds, Size
from autoballoon.sim.happenings import Pause, Reset, SetByHand
from autoballoon.sim.run import run_all, simulate, world_of
from autoballoon.sim.scenario import load
from autoballoon.views.sim_results import ORACLE, Result
from tests.sim.worlds import guest_of, scenario

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys, msgspec
from tests.sim.test_run import beginning
sys.stdout.buffer.write(msgspec.json.encode([beginning(policy, 5) for policy in sys.argv[1:]]))
"""


@functools.cache
def run(name: str, policy: str) -> Result:
    return simulate(name, policy, world_of(load(name), policy, 1))


def beginning(policy: str, seed: int) -> Result:
    """The first half minute of the scenario in which most is left to dice."""
    half = msgspec.structs.replace(load("byzantine"), duration=Seconds(30))
    return simulate("byzantine", policy, world_of(half, policy, seed))


def test_the_same_seed_gives_the_same_result_in_another_process_with_other_hashes() -> None:
    """There the policies come in another order, so that what one life left behind would be seen; that one policy's
    lives leave nothing to its own is tried with random worlds."""
    policies = [*POLICIES, ORACLE]
    there = subprocess.run(
        [sys.executable, "-c", SCRIPT, *reversed(policies)],
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": "12345", "PYTHONPATH": ":".join([str(ROOT), *sys.path])},
    )
    told = msgspec.json.decode(there.stdout, type=list[Result])
    assert told[::-1] == [beginning(policy, 5) for policy in policies]


def test_another_seed_gives_another_world() -> None:
    assert beginning("static", 1).lost_s != beginning("static", 2).lost_s


def test_processes_do_what_one_does() -> None:
    names, policies = ["squeezed-wants-8g", "seesaw"], ["ladder", "static"]
    alone = list(run_all(names, policies, 1, 1))
    together = sorted(run_all(names, policies, 1, 2), key=lambda one: (one.scenario, one.policy))
    assert together == sorted(alone, key=lambda one: (one.scenario, one.policy))
    assert len(alone) == 4


def killed(name: str, policy: str, seed: int) -> Result:
    """In place of a run: what the kernel does to it when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def interrupted(name: str, policy: str, seed: int) -> Result:
    """What a terminal's Ctrl-C does to it."""
    os.kill(os.getpid(), signal.SIGINT)
    raise AssertionError


@pytest.mark.parametrize("end", [killed, interrupted])
def test_a_process_that_is_killed_is_one_sentence_and_one_ends_of_ctrl_c_at_once(
    end: Callable[[str, str, int], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_one", end)
    with pytest.raises(CouldNot, match="a process of the simulator was killed"):
        list(run_all(["seesaw"], ["ladder", "static"], 1, 2))


def test_what_happens_before_a_guest_is_there_does_not_happen_to_it() -> None:
    late = scenario(guest_of(starts="10s", boot="5s"), duration="20s")
    happens = [
        Reset(at=Seconds(1), guest="g"), SetByHand(at=Seconds(2), guest="g", size=Size(500 * MIB)),
        Pause(at=Seconds(3), guest="g"),
    ]  # fmt: skip
    one = world_of(msgspec.structs.replace(late, happens=happens), "static", 1)
    up: list[float] = []
    one.run([lambda world: up.append(world.now) if world.guest("g").driver else None])
    assert up[0] == pytest.approx(15.0, abs=0.1)
    assert one.guest("g").target == one.guest("g").max


def test_guests_of_one_table_may_start_one_after_the_other() -> None:
    one = world_of(scenario(guest_of(count=3, starts="5s", stagger="4s"), duration="20s"), "static", 1)
    there: dict[int, float] = {}
    one.run([lambda world: there.update({len(world.there): there.get(len(world.there), world.now)})])
    assert there == {0: 0.05, 1: 5.0, 2: 9.0, 3: 13.0}


def test_who_moves_nothing_moves_nothing() -> None:
    assert run("sawtooth", "static").moves == 0


@pytest.mark.parametrize("name", ["sawtooth", "grow-7g-in-10s", "squeezed-wants-8g", "windows"])
def test_the_oracle_starves_nobody_where_needs_fit(name: str) -> None:
    oracle, static = run(name, ORACLE), run(name, "static")
    assert oracle.over_s == 0
    assert oracle.host_swap_pages == 0
    assert oracle.longest_starving_s < 0.5
    assert oracle.lost_s < static.lost_s / 2
