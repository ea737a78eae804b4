"""What holds for every baseline: raw, by I1 and I3 alone, total."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.engine import Engine, Rules
from autoballoon.core.errors import BadInput
from autoballoon.core.model import Reason, SetTarget, Snapshot
from autoballoon.core.units import MIB, PAGE
from autoballoon.daemon import config
from autoballoon.policies import BASELINES, POLICIES, policy_named
from autoballoon.policies.published import unassigned
from tests.core.histories import History, histories
from tests.policies.sights import guest, see


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_is_raw_and_can_be_named_in_a_configuration(name: str) -> None:
    policy = policy_named(name)
    assert policy.raw
    assert policy.name == name
    assert config.parse(f'[policy]\nname = "{name}"\n').policy == name


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="ladder, mom, proxmox, qmemman, squeezed, static"):
        policy_named("lader")


def test_the_ladder_is_no_baseline() -> None:
    assert set(POLICIES) - set(BASELINES) == {"ladder"}
    assert not policy_named("ladder").raw


@given(histories(), st.sampled_from(sorted(BASELINES)))
def test_a_baseline_is_held_to_i1_and_i3(history: History, name: str) -> None:
    engine = Engine(Rules(), policy_named(name))
    state = engine.start()
    for n, tick in enumerate(history):
        now = 100.0 + 10 * n
        snapshot = Snapshot(tick.host, tuple(guest for _, guest in tick.guests))
        before = state.tracks
        state, decisions = engine.step(state, snapshot, now)
        assert [d.key for d in decisions] == [g.key for g in snapshot.guests]
        for found, decision in zip(snapshot.guests, decisions, strict=True):
            if not isinstance(decision, SetTarget):
                continue
            assert decision.reason is Reason.RULE
            low = min(-(-found.floor // PAGE) * PAGE, found.max)
            assert low <= decision.size <= max(low, found.top)
            assert decision.size % PAGE == 0
            if decision.size < decision.before:
                reading = state.tracks[found.key].reading
                assert reading is not None
                track = before.get(found.key)
                if track is not None and track.actual != found.actual:
                    assert reading.taken_at >= now
                if track is not None and track.ours:
                    assert reading.taken_at > track.set_at


def test_xen_counts_all_of_a_guest_as_taken() -> None:
    guests = [
        guest("touched", 300, resident=300 * MIB),
        guest("half", 400, resident=150 * MIB),
        guest("unseen", 200),  # without the host's view all of it is taken to be touched
        guest("above", 100, resident=130 * MIB),
    ]
    assert unassigned(see(guests, capacity=2000 * MIB, available=500 * MIB)) == 250 * MIB


def test_numbers_of_a_rule_can_be_told() -> None:
    wish = policy_named("proxmox").wish(
        None, see([guest("a", 600, floor=512)], capacity=2000 * MIB, available=900 * MIB), 0.0
    )
    assert msgspec.json.encode(wish.wishes["a"].numbers) == b'{"goal":524288000}'
