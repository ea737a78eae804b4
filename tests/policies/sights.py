"""What a policy is shown, made by hand: guests in MiB, a host, and an engine to step."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from autoballoon.core.engine import Engine, Rules
from autoballoon.core.health import observe
from autoballoon.core.model import Guest, Host, Reason, SetTarget, Snapshot
from autoballoon.core.policy import Policy, Sight
from autoballoon.core.pool import account_of
from autoballoon.core.track import Health
from autoballoon.core.units import MIB, Portion


def guest(key: str, actual: float, *, most: float = 1024, floor: float = 0, **more: Any) -> Guest:
    """A guest of `most` MiB that answers, with a reading of this moment; further fields are the schema's, in bytes."""
    fields: dict[str, Any] = {
        "key": key,
        "name": key,
        "max": int(most * MIB),
        "actual": int(actual * MIB),
        "floor": int(floor * MIB),
        "pid": 1,
        "driver": True,
        "age_s": 0.0,
        "available": 0,
    }
    return Guest(**{**fields, **more})


def see(
    guests: Sequence[Guest],
    *,
    capacity: int,
    available: int,
    now: float = 100.0,
    targets: Mapping[str, int] | None = None,
    asked_at: float = 0.0,
) -> Sight:
    """All that a policy may look at; `targets` were set by us at `asked_at`, elsewhere the size is the target."""
    snapshot = Snapshot(Host(capacity=capacity, available=available), tuple(guests))
    tracks = {g.key: observe(None, g, now) for g in guests}
    for key, target in (targets or {}).items():
        tracks[key] = msgspec.structs.replace(tracks[key], target=target, ours=True, set_at=asked_at)
    account = account_of(snapshot, tracks, Portion(amount=0))
    movable = tuple(g for g in guests if tracks[g.key].health is Health.OK)
    return Sight(snapshot, account, tracks, movable)


def sizes(policy: Policy, sight: Sight, now: float = 100.0) -> dict[str, int]:
    """What the policy would wish for at its first look, bytes by key."""
    return {key: wish.size for key, wish in policy.wish(policy.start(), sight, now).wishes.items()}


class Steps:
    """An engine with one policy, stepped through moments made by hand."""

    def __init__(self, policy: Policy, *, capacity: int) -> None:
        self.engine = Engine(Rules(), policy)
        self.state = self.engine.start()
        self.capacity = capacity
        self.reasons: dict[str, Reason] = {}
        """The reasons of the last step, by key."""

    def step(self, now: float, available: int, guests: Sequence[Guest]) -> dict[str, int]:
        """The targets that this step sets, bytes by key."""
        snapshot = Snapshot(Host(capacity=self.capacity, available=available), tuple(guests))
        self.state, decisions = self.engine.step(self.state, snapshot, now)
        self.reasons = {decision.key: decision.reason for decision in decisions}
        return {d.key: d.size for d in decisions if isinstance(d, SetTarget)}
