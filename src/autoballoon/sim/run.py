"""Scenarios run with policies: one at a time, or many in a few processes."""

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from autoballoon.core.engine import Rules
from autoballoon.core.errors import CouldNot
from autoballoon.policies import policy_named
from autoballoon.sim.keeper import Daemon, Keeper
from autoballoon.sim.oracle import FORESIGHTS, Oracle
from autoballoon.sim.scenario import Scenario, load
from autoballoon.sim.score import Score
from autoballoon.sim.world import Watch, World
from autoballoon.views.sim_results import ORACLE, Result


def rules_of(scenario: Scenario) -> Rules:
    """The operator's rules in that scenario."""
    return Rules(reserve=scenario.host.reserve, overload=scenario.host.overload)


def keepers_of(scenario: Scenario, policy: str) -> list[Keeper]:
    """The daemon with that policy, or the oracle's plans. BadInput when there is no such policy."""
    if policy == ORACLE:
        return [Oracle(foresight) for foresight in FORESIGHTS]
    return [Daemon(rules_of(scenario), policy_named(policy))]


def keeper_of(scenario: Scenario, policy: str) -> Keeper:
    """The first of `keepers_of`."""
    return keepers_of(scenario, policy)[0]


def worlds_of(scenario: Scenario, policy: str, seed: int) -> list[World]:
    """As `world_of`, one for each plan."""
    return [World(scenario, keeper, seed) for keeper in keepers_of(scenario, policy)]


def rank(result: Result) -> tuple[int, float]:
    """The smaller, the better: what must hold comes before what is lost."""
    return len(result.unmet), result.lost_s


def world_of(scenario: Scenario, policy: str, seed: int) -> World:
    """The world of that scenario and seed, with that policy, not yet begun. BadInput when there is no such policy."""
    return World(scenario, keeper_of(scenario, policy), seed)


def simulate(name: str, policy: str, world: World, watches: Sequence[Watch] = ()) -> Result:
    """Live through a world that has not begun; the same world gives the same result. `watches` see each step."""
    score = Score(world)
    world.run((score, *watches))
    return score.result(name, policy, world)


def run_all(names: Sequence[str], policies: Sequence[str], seed: int, processes: int) -> Iterator[Result]:
    """Every policy in every scenario, in the order in which they are done. CouldNot when a process is killed."""
    jobs = [(name, policy) for name in names for policy in policies]
    if processes == 1 or len(jobs) == 1:
        for name, policy in jobs:
            yield _one(name, policy, seed)
        return
    # Ctrl-C goes to all processes: one that ends of it leaves nothing to be waited for.
    ends = (signal.SIGINT, signal.SIG_DFL)
    pool = ProcessPoolExecutor(max_workers=processes, initializer=signal.signal, initargs=ends)
    try:
        for future in as_completed([pool.submit(_one, name, policy, seed) for name, policy in jobs]):
            yield future.result()
    except BrokenProcessPool:
        raise CouldNot(
            "a process of the simulator was killed, perhaps for want of memory (the kernel's log says so); run fewer "
            "scenarios at a time"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _one(name: str, policy: str, seed: int) -> Result:
    """The best of its plans."""
    return min((simulate(name, policy, world) for world in worlds_of(load(name), policy, seed)), key=rank)
