"""Planning: what one step would do with a snapshot, asked outside the loop."""

from collections.abc import Mapping

import msgspec

from autoballoon.core import guard
from autoballoon.core.engine import Engine, State
from autoballoon.core.health import observe
from autoballoon.core.lull import Lull
from autoballoon.core.model import AnyDecision, Snapshot
from autoballoon.core.pool import Account

NOW = 0.0
"""A plan has no clock: every age in a snapshot is counted back from the moment it was taken."""
LONG_AGO = -1e9
UNBROKEN = Lull(since=NOW, least=1 << 62, before=1 << 62)
"""Whatever room there is has been there for long."""


class Plan(msgspec.Struct, frozen=True):
    """The answer to "what would you do, and why"."""

    decisions: tuple[AnyDecision, ...]
    """One for each guest, in the snapshot's order."""
    wishes: Mapping[str, int]
    """Bytes by key, within the guest's bounds (I1): where it is heading. Only guests that the policy would move."""
    account: Account


def plan(engine: Engine, snapshot: Snapshot) -> Plan:
    """One step from an empty state, in which nothing is waited for that only time can bring.

    A daemon that meets a guest asks for a fresh reading before it shrinks it, and sees for some seconds whether room or
    an overload lasts before it acts on it. A plan takes the snapshot to be the fresh reading, and to have been so for
    long. A reading that is too old, or none, is no ground for a shrink here either (I3).
    """
    state, decisions = engine.step(_unhurried(engine.start(), snapshot), snapshot, NOW)
    assert state.account is not None
    assert state.wishes is not None
    wishes = {
        guest.key: guard.within(guest, state.tracks[guest.key], state.wishes.wishes[guest.key].size)
        for guest in snapshot.guests
        if guest.key in state.wishes.wishes
    }
    return Plan(decisions, wishes, state.account)


def _unhurried(empty: State, snapshot: Snapshot) -> State:
    """The empty state, the waits that begin at first contact behind it."""
    tracks = {
        guest.key: msgspec.structs.replace(
            observe(None, guest, NOW), asked_since=LONG_AGO, met_at=LONG_AGO, ok_since=LONG_AGO
        )
        for guest in snapshot.guests
    }
    load = msgspec.structs.replace(empty.load, over_since=LONG_AGO)
    return msgspec.structs.replace(empty, tracks=tracks, lull=UNBROKEN, load=load)
