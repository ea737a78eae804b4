"""A switch for each safeguard: what turns it off, in one table. Used to show that a scenario fails without it."""

from collections.abc import Callable
from typing import Any

import msgspec

from autoballoon.core import engine, granting, guard, health, lull, overload, pace, pool, taking, track, turn
from autoballoon.core.case import Case
from autoballoon.core.model import Guest, Reason
from autoballoon.core.policy import Sight, Wishes
from autoballoon.core.track import Track
from autoballoon.core.units import PAGE
from autoballoon.daemon.falling import FreeWatch
from autoballoon.policies import ladder, rungs
from autoballoon.policies.habits import Habit

Change = tuple[Any, str, Any]
"""An object, the name of what it has, and what is put in its place."""


def _follow_without(*reasons: Reason) -> Callable[[Guest, Track, float], Reason | None]:
    kept = guard.must_follow

    def must_follow(guest: Guest, track: Track, now: float) -> Reason | None:
        follow = kept(guest, track, now)
        return None if follow in reasons else follow

    return must_follow


def _observe_nobody_else(track: Track | None, guest: Guest, now: float) -> Track:
    return msgspec.structs.replace(health.observe(track, guest, now), below=0, taken_from=None, adopted=None)


def _never_wait_for_a_reading(track: Track, now: float) -> Reason | None:
    if now < track.cool_until:
        return Reason.COOL_DOWN
    return Reason.WAIT_MOVE if track.shrinking or track.growing(now) else None


def _grant_everything(cases: list[Case], *_: Any, **__: Any) -> list[int]:
    return [case.size for case in cases]


def _no_boot_target(self: turn.Turn, guest: Guest, track: Track) -> None:
    self._stay(guest, track, Reason.BOOTING)


def _bounds_without_floor(guest: Guest, track: Track) -> tuple[int, int]:
    return PAGE, max(PAGE, guest.max if track.adopted is None else min(guest.max, track.adopted))


_rungs_of = rungs.rungs_of


def _rungs_without_floor(guest: Guest, track: Track, habit: Habit, now: float) -> rungs.Rungs:
    return _rungs_of(msgspec.structs.replace(guest, floor=0), track, habit, now)


def _rungs_without_held(*args: Any) -> rungs.Rungs:
    return msgspec.structs.replace(_rungs_of(*args), held=0)


def _observe_no_migration(track: Track | None, guest: Guest, now: float) -> Track:
    return health.observe(track, msgspec.structs.replace(guest, migrating=False), now)


def _ask_only_before_a_shrink(self: engine.Engine, state: engine.State, now: float) -> frozenset[str]:
    return frozenset(key for key, track in state.tracks.items() if track.asked_since is not None)


def _stop_nobody(load: overload.Load, sight: Sight, wishes: Wishes, now: float) -> overload.Outcome:
    return overload.control(load, msgspec.structs.replace(sight, overload="host-swap"), wishes, now)


def _at_once(guest: Guest, track: Track, size: int, *, now: float, wanted: bool) -> tuple[int, Reason | None]:
    return size, None


SWITCHES: dict[str, tuple[Change, ...]] = {
    "fresh-reading": ((guard, "bars_shrink", _never_wait_for_a_reading),),
    "stuck": ((guard, "must_follow", _follow_without(Reason.STUCK)),),
    "deflated": ((guard, "must_follow", _follow_without(Reason.DEFLATED)),),
    "follow": ((guard, "must_follow", _follow_without(Reason.STUCK, Reason.DEFLATED)),),
    "manual": ((engine, "observe", _observe_nobody_else),),
    "two-phases": ((granting, "grants", _grant_everything),),
    "cushion": ((ladder.Ladder, "_cushion", lambda self, memory, pool: 0),),
    "overhead": tuple((module, "overhead_of", lambda guest: 0) for module in (pool, ladder, turn)),
    "boot-target": ((turn.Turn, "_boot", _no_boot_target),),
    "on-its-way": tuple((module, "coming_of", lambda guest, track, now: 0) for module in (pool, taking)),
    "boot-grace": ((health, "BOOT_GRACE_S", 0.0),),
    "silent-hold": ((health, "SILENT_S", 1e9),),
    "floor": ((guard, "bounds", _bounds_without_floor), (ladder, "rungs_of", _rungs_without_floor)),
    "end-of-memory": ((rungs, "NEAR_END", 0.0),),
    "calm": ((lull, "SPAN_S", 0.0),),
    "dead-band": (
        (pace, "dead_band", lambda guest: 0),
        (pace, "SHORT_DEAD_BAND", 0),
        (pace, "NEED_DEAD_BAND", 0),
    ),
    "first-readings": ((pace, "FIRST_S", 0.0),),
    "pace": ((pace, "paced_shrink", _at_once),),
    "held": ((ladder, "rungs_of", _rungs_without_held),),
    "cool-down": ((guard, "STUCK_COOL_S", 0.0), (guard, "FULL_COOL_S", 0.0), (guard, "DEFLATED_COOL_S", 0.0)),
    "learnt": ((rungs, "_learnt", lambda track, needed, now: 0),),
    "migrating": ((engine, "observe", _observe_no_migration),),
    "swap-in": ((track.Reading, "need", property(lambda reading: reading.actual - reading.available)),),
    "appetite": ((rungs, "_appetite", lambda guest, habit: 0),),
    "ask-near-edge": (
        (engine.Engine, "suspects", lambda self, state, now: frozenset()),
        (engine.Engine, "curious", _ask_only_before_a_shrink),
    ),
    "free-watch": ((FreeWatch, "is_urgent", lambda *_: False),),
    "load-control": ((engine, "control", _stop_nobody),),
}
