"""Replaying: what a policy would have decided at each moment of a recording, given what was really done until then.

The guests of a recording follow the targets that they were given then, not those of the policy that is tried. So one
state is led along what was recorded, and the policy is asked from there at each tick, with a memory of its own: a
difference is a difference of that one decision, and not of all that would have followed from an earlier one.
"""

from collections.abc import Mapping, Sequence

import msgspec

from autoballoon.core.engine import Engine, State
from autoballoon.core.health import observe
from autoballoon.core.model import AnyDecision, Guest, Reason, SetTarget, Snapshot, Stay
from autoballoon.core.track import Track
from autoballoon.core.units import MIB

ALIKE = MIB
"""Two sizes closer than this are the same."""


class Difference(msgspec.Struct, frozen=True):
    """One guest at one moment, for whom another thing would have been decided."""

    recorded: AnyDecision
    replayed: AnyDecision

    @property
    def is_of_reason_only(self) -> bool:
        """The same is done, for another reason."""
        one, two = self.recorded, self.replayed
        return type(one) is type(two) and abs(_size(one) - _size(two)) < ALIKE


def _size(decision: AnyDecision) -> int:
    return decision.size if isinstance(decision, SetTarget | Stay) else 0


class Replay:
    """Steps the engine of the recording along, and asks the one that is tried."""

    def __init__(self, recorded: Engine, tried: Engine, known_for_s: float = 0.0) -> None:
        """`known_for_s`: so long the daemon had been up when the recording began: its guests are not new to it."""
        self._recorded = recorded
        self._tried = (
            None if tried.policy.name == recorded.policy.name and tried.rules == recorded.rules else tried
        )
        self._known_for_s = known_for_s
        self._state: State | None = None
        self._mind: State | None = None if self._tried is None else tried.start()
        """Of what is tried only its memory and wishes count."""

    def step(
        self, snapshot: Snapshot, done: Sequence[AnyDecision], targets: Mapping[str, int], now: float
    ) -> tuple[AnyDecision, ...]:
        """What would be decided; `done` is what was, `targets` the targets after it, by key."""
        before = self._begin(snapshot, now) if self._state is None else self._state
        after, decided = self._recorded.step(before, snapshot, now)
        if self._tried is not None and self._mind is not None:
            mind = self._mind
            asked = msgspec.structs.replace(
                before, memory=mind.memory, wishes=mind.wishes, wished_at=mind.wished_at, load=mind.load
            )
            self._mind, decided = self._tried.step(asked, snapshot, now)
        if not self._recorded.rules.dry_run:
            after = _led(before, after, snapshot, done, targets, now)
        self._state = after
        return decided

    def _begin(self, snapshot: Snapshot, now: float) -> State:
        """The state of a daemon that has known these guests for a while, and remembers nothing else of them."""
        tracks = {}
        for guest in snapshot.guests:
            track = observe(None, guest, now)
            known_s = self._known_for_s if guest.up_s is None else min(self._known_for_s, guest.up_s)
            tracks[guest.key] = msgspec.structs.replace(track, met_at=now - known_s, ok_since=now - known_s)
        return msgspec.structs.replace(self._recorded.start(), tracks=tracks if self._known_for_s else {})


def differences(done: Sequence[AnyDecision], decided: Sequence[AnyDecision]) -> list[Difference]:
    """Where the two differ, guest by guest; guests of whom only one knows are left out."""
    by_key = {decision.key: decision for decision in done}
    pairs = ((by_key[new.key], new) for new in decided if new.key in by_key)
    return [
        Difference(old, new)
        for old, new in pairs
        if old.reason is not new.reason or type(old) is not type(new) or abs(_size(old) - _size(new)) >= ALIKE
    ]


def _led(
    before: State,
    after: State,
    snapshot: Snapshot,
    done: Sequence[AnyDecision],
    targets: Mapping[str, int],
    now: float,
) -> State:
    """The state in which guests have been told what they were told then."""
    by_key = {decision.key: decision for decision in done}
    seen: dict[str, Track] | None = None
    tracks = dict(after.tracks)
    for guest in snapshot.guests:
        was, track = by_key.get(guest.key), after.tracks[guest.key]
        target = targets.get(guest.key, was.size if isinstance(was, SetTarget | Stay) else track.target)
        if was is None or track.target == target:
            continue
        if seen is None:
            seen, _ = Engine.observed(before, snapshot, now)
        moved = isinstance(was, SetTarget)
        tracks[guest.key] = _told(seen[guest.key], guest, target, was.reason, now if moved else None)
    return msgspec.structs.replace(after, tracks=tracks)


def _told(track: Track, guest: Guest, target: int, reason: Reason, at: float | None) -> Track:
    """The track of a guest whose target is known to be this; `at`: it was set at this moment."""
    changes = {} if at is None else {"set_at": at, "before": track.target, "begun": guest.actual}
    if reason is Reason.MANUAL:
        changes["adopted"] = guest.actual
    return msgspec.structs.replace(
        track, target=target, ours=True, reached=guest.actual <= target, below=0, taken_from=None, **changes
    )
