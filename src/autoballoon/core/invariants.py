"""The invariants, looked at from outside: does what one step decided keep to them?

The engine is built so that they hold; this is the second pair of eyes, written from the invariants and not from the
engine. Tests ask it after every step, the simulator counts what it finds, and the daemon holds back what would break
one. Nearly all guests stay at nearly every step, so looking at one that stays must cost next to nothing.

I7 asks what each guest would get if all others claimed the most they could, which is dear, and I9 compares two runs:
both are property tests only. What is looked at here of I7 is I1 (no target below the floor) and I8 (none below need).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum

import msgspec

from autoballoon.core import guard
from autoballoon.core.engine import Engine, State
from autoballoon.core.health import began_anew
from autoballoon.core.model import AnyDecision, Decision, Guest, Reason, SetTarget, Snapshot, Stay
from autoballoon.core.track import RESIDENT_SLACK, SLACK, Track
from autoballoon.core.units import PAGE, page_floor, size_text

FOLLOWS = frozenset({Reason.STUCK, Reason.DEFLATED, Reason.MANUAL, Reason.MIGRATING})
"""Moves in which the target only follows the size that the guest has anyway."""
LOWEST = -1e9


class Violation(msgspec.Struct, frozen=True):
    """One invariant that a step broke."""

    invariant: str
    """Its number, "I1" to "I8"; or "hold", what the operator asked for."""
    says: str
    keys: tuple[str, ...]
    """The guests whose moves break it."""


class Kind(Enum):
    """What a move does to the guest."""

    GROWS = "grows"
    SHRINKS = "shrinks"
    """It is asked for memory that it has and that it was let have."""
    ADJUSTS = "adjusts"
    """Its target moves, between the size that it has and the one that it was let have."""
    BOOTS = "boots"
    FOLLOWS = "follows"


class Moved(msgspec.Struct, frozen=True, gc=False):
    """One guest that was given a target, with what was known of it before the step and after."""

    guest: Guest
    decision: SetTarget
    kind: Kind
    was: Track | None
    """Its track before the step; None at first contact, and when it has begun anew."""
    track: Track
    begun_anew: bool


def violations(
    engine: Engine, before: State, snapshot: Snapshot, after: State, decisions: Sequence[Decision], now: float
) -> tuple[Violation, ...]:
    """What is wrong with a step that led from `before` to `after`; nothing, if all is well.

    Of a raw policy (a published rule of others) only I1, I3, I4 and what the operator holds are asked.
    """
    if len(decisions) != len(snapshot.guests):
        says = f"{len(snapshot.guests)} guests were given {len(decisions)} decisions"
        return (Violation("I4", says, tuple(guest.key for guest in snapshot.guests)),)
    found: list[Violation] = []
    moves: list[Moved] = []
    for guest, decision in zip(snapshot.guests, decisions, strict=True):
        was, track = before.tracks.get(guest.key), after.tracks[guest.key]
        begun_anew = was is not None and began_anew(was, guest)
        if begun_anew:
            was = None
        target = guest.actual if was is None or not was.ours else was.target + was.plugged(guest.max)
        if isinstance(decision, SetTarget):
            moves.append(Moved(guest, decision, _kind(guest, decision), was, track, begun_anew))
            # One that boots is led by QEMU to the target of an earlier life, which may be less.
            known = decision.before == target or (decision.reason is Reason.BOOT and decision.before < target)
            told = known and (decision.size == track.target or engine.rules.dry_run)
        else:
            told = not isinstance(decision, Stay) or decision.size == target == track.target
        if not told or decision.key != guest.key:
            found.append(
                Violation("I4", f"{guest.name}'s target moved without a decision that says so", (guest.key,))
            )
    raw = engine.policy.raw
    checks = _RAW_CHECKS if raw else _CHECKS
    for move in moves:
        for invariant, check in checks[move.kind]:
            fault = check(engine, move, now)
            if fault is not None:
                found.append(_told(invariant, move, fault))
    return (*found, *(() if raw else _i2(after, moves)))


def hold_back(
    found: Iterable[Violation],
    before: State,
    snapshot: Snapshot,
    after: State,
    decisions: Sequence[AnyDecision],
    now: float,
) -> tuple[State, tuple[AnyDecision, ...]]:
    """The same step without the moves that break an invariant: these guests stay, and nothing is remembered as done."""
    held = {key for violation in found for key in violation.keys}
    if not held:
        return after, tuple(decisions)
    tracks, _ = Engine.observed(before, snapshot, now)
    seen = {key: track for key, track in tracks.items() if key in held}
    made = {decision.key: decision for decision in decisions}
    kept = tuple(
        Stay(guest.key, guest.name, Reason.HELD_BACK, {}, size=seen[guest.key].target)
        if guest.key in held
        else made[guest.key]
        for guest in snapshot.guests
    )
    return msgspec.structs.replace(after, tracks={**after.tracks, **seen}), kept


def _told(invariant: str, move: Moved, says: str) -> Violation:
    sizes = f"from {size_text(move.decision.before)} to {size_text(move.decision.size)}"
    return Violation(invariant, f"{move.guest.name}, asked to go {sizes}, {says}", (move.guest.key,))


def _kind(guest: Guest, decision: SetTarget) -> Kind:
    if decision.reason in FOLLOWS:
        return Kind.FOLLOWS
    if decision.reason is Reason.BOOT:
        return Kind.BOOTS
    if decision.size > decision.before and decision.size > guest.actual:
        return Kind.GROWS
    return Kind.SHRINKS if decision.size < decision.before and decision.size < guest.actual else Kind.ADJUSTS


def _i1(engine: Engine, move: Moved, now: float) -> str | None:
    """A target lies between floor and ceiling, on a page; from outside it may be led back in steps."""
    guest, adopted = move.guest, move.track.adopted
    before, size = move.decision.before, move.decision.size
    if size % PAGE:
        return "would not stand on a whole page"
    if guest.floor <= size <= guest.top and (adopted is None or size <= adopted):
        return None  # as nearly all do
    low, high = guard.bounds(guest, move.track)
    if size < low and size <= before:
        return f"would be below its floor of {size_text(low)}"
    if size > high and size >= before:
        return f"would be above its ceiling of {size_text(high)}"
    return None


def _i2(after: State, moves: Sequence[Moved]) -> Iterator[Violation]:
    """Grants fit what is free, or the declared excess; without room nobody grows beyond its need."""
    account, wishes = after.account, after.wishes
    assert account is not None
    assert wishes is not None
    growers = [move for move in moves if move.kind is Kind.GROWS]
    grown = 0
    for move in growers:
        held = max(move.decision.before, move.guest.actual, move.guest.resident or 0)
        grown += max(0, move.decision.size - held)
    free = max(0, account.room + account.promised + max(0, wishes.excess))
    if grown > free:
        says = f"{size_text(grown)} were promised where {size_text(free)} are free"
        yield Violation("I2", says, tuple(move.guest.key for move in growers))
    if account.room > 0:
        return
    for move in growers:
        wish = wishes.wishes.get(move.guest.key)
        if wish is None or move.decision.size > max(wish.need, move.decision.before, move.guest.actual):
            yield _told("I2", move, "would grow beyond its need while more is promised than there is")


def _i3_boot(engine: Engine, move: Moved, now: float) -> str | None:
    """A guest that boots gets one target, before its driver is up."""
    if move.guest.driver is True:
        return "has a driver already and is past a boot target"
    return "was given a boot target already" if move.was is not None and move.was.ours else None


def _i3_shrink(engine: Engine, move: Moved, now: float) -> str | None:
    """No shrink without a reading taken after the last move."""
    was, moved_at = move.was, LOWEST
    if move.begun_anew or (was is not None and was.actual != move.guest.actual):
        moved_at = now
    elif was is not None:
        moved_at = max(was.set_at, was.changed_at)
    reading = move.track.reading
    if move.guest.available is None or reading is None or reading.taken_at <= moved_at:
        return "has no reading from after its last move"
    return None


def _i5_shrink(engine: Engine, move: Moved, now: float) -> str | None:
    """One outstanding shrink for each guest."""
    was = move.was
    if was is not None and was.ours and move.decision.size < was.target < move.guest.actual - SLACK:
        return "has not done its last shrink yet"
    return None


def _i5_stuck(engine: Engine, move: Moved, now: float) -> str | None:
    """A stuck guest's target goes back to its size."""
    stuck = move.decision.reason is Reason.STUCK
    return (
        "is stuck, and its target should be its size"
        if stuck and move.decision.size != move.guest.actual
        else None
    )


def _i6_manual(engine: Engine, move: Moved, now: float) -> str | None:
    """What somebody else set is adopted, when the host sees it too; never at first contact."""
    guest, was, track = move.guest, move.was, move.track
    if move.decision.reason is not Reason.MANUAL:
        return None
    if was is None or not was.ours:
        return "was taken to be set by hand at first contact"
    if guest.resident is not None and guest.resident > guest.actual + RESIDENT_SLACK:
        return "holds more than it says, and nothing is to be adopted from it"
    if move.decision.size != guest.actual or (not engine.rules.dry_run and track.adopted != guest.actual):
        return f"was set to {size_text(guest.actual)}, and that should be adopted"
    return None


def _i6_kept(engine: Engine, move: Moved, now: float) -> str | None:
    """A ceiling that was adopted stays."""
    lost = move.was is not None and move.was.adopted is not None and move.track.adopted is None
    return "has lost the ceiling that somebody else set" if lost else None


def _i6_deflated(engine: Engine, move: Moved, now: float) -> str | None:
    """A guest that took memory back is followed, and left to cool down."""
    if move.decision.reason is not Reason.DEFLATED:
        return None
    if move.decision.size != move.guest.actual:
        return "took memory back, and its target should be its size"
    cools = engine.rules.dry_run or move.track.cool_until > now
    return None if cools else "took memory back and is not left to cool down"


def _hold(engine: Engine, move: Moved, now: float) -> str | None:
    """What the operator holds is not made smaller."""
    held = move.guest.held and move.decision.size < move.decision.before
    return "is held by the operator" if held else None


def _i8(engine: Engine, move: Moved, now: float) -> str | None:
    """No target is set below need, but where guests may swap; then the reason says so."""
    reading = move.track.reading
    if reading is None or move.decision.size >= reading.need:
        return None
    if move.decision.reason is Reason.TAKE_NEED and engine.rules.overload == "guest-swap":
        return None
    least = min(reading.need, guard.bounds(move.guest, move.track)[1])
    return f"needs {size_text(reading.need)}" if move.decision.size < page_floor(least) else None


Check = Callable[[Engine, Moved, float], str | None]
_CHECKS: dict[Kind, tuple[tuple[str, Check], ...]] = {
    Kind.GROWS: (("I1", _i1), ("I6", _i6_kept)),
    Kind.SHRINKS: (
        ("I1", _i1),
        ("I3", _i3_shrink),
        ("I5", _i5_shrink),
        ("I6", _i6_kept),
        ("I8", _i8),
        ("hold", _hold),
    ),
    Kind.ADJUSTS: (("I1", _i1), ("I6", _i6_kept), ("hold", _hold)),
    Kind.BOOTS: (("I1", _i1), ("I3", _i3_boot), ("hold", _hold)),
    Kind.FOLLOWS: (("I5", _i5_stuck), ("I6", _i6_manual), ("I6", _i6_deflated)),
}
"""What each kind of move is asked; I2 is asked of all that grow together."""
_RAW_CHECKS = {
    kind: tuple((invariant, check) for invariant, check in checks if invariant in ("I1", "I3", "hold"))
    for kind, checks in _CHECKS.items()
}
