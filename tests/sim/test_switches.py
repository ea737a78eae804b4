"""Each safeguard matters: without it a scenario that names it fails."""

import pytest

from autoballoon.policies import policy_named
from autoballoon.sim.keeper import Daemon
from autoballoon.sim.run import rules_of
from autoballoon.sim.safeguards import SAFEGUARDS
from autoballoon.sim.scenario import load, names
from autoballoon.sim.score import Score
from autoballoon.sim.world import World
from tests.sim.switches import SWITCHES
from tests.sim.test_scenarios import NOT_YET

NAMED = [(name, switch) for name in names() for switch in load(name).switches]
ALONE_HARMLESS = {
    "calm": "what is given away too soon is free in its guest, and fills the cushion up again before it is missed",
    "deflated": "a guest that took memory back and is not followed counts as stuck after 3 s, and is followed then",
}
"""Safeguards behind which another one stands, so that no scenario needs them."""


class Lost(Exception):
    """Something that must hold does not, and nobody need live on."""


def fails(name: str, world: World) -> bool:
    """Whether something that must hold does not."""
    score = Score(world)

    def look(_: World) -> None:
        if score.is_lost:
            raise Lost

    try:
        world.run([score, look])
    except Lost:
        return True
    return score.result(name, "ladder", world).unmet != ()


@pytest.mark.parametrize(("name", "switch"), NAMED)
def test_without_it_the_scenario_fails(name: str, switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in NOT_YET:
        pytest.xfail(NOT_YET[name])
    for thing, attribute, instead in SWITCHES[switch]:
        monkeypatch.setattr(thing, attribute, instead)
    scenario = load(name)
    # Unchecked: what would break an invariant is not held back by the second pair of eyes.
    keeper = Daemon(rules_of(scenario), policy_named("ladder"), checked=False)
    assert fails(name, World(scenario, keeper, 1)), f"{name} holds without {switch}"


def test_every_safeguard_is_named_by_a_scenario() -> None:
    assert {switch for _, switch in NAMED} | ALONE_HARMLESS.keys() == SWITCHES.keys() == SAFEGUARDS.keys()
