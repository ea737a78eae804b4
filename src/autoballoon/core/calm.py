"""Who may be looked at less often: with a thousand guests, looking at the idle ones is most of what a daemon does."""

from collections.abc import Collection

from autoballoon.core.engine import State
from autoballoon.core.pace import FIRST_S
from autoballoon.core.policy import ASK_AHEAD_S
from autoballoon.core.track import GROWS, Health, Track

CALM_EVERY_S = 2.0
"""A calm guest is looked at this often instead of each second: twice that and a second more is still not SILENT_S, so
that one look may fail, and a guest that stands still keeps its health."""
SETTLED_S = 5.0
"""A guest is not calm before its size has stood for so long."""
MARGIN = round((CALM_EVERY_S + 1.0 + ASK_AHEAD_S) * GROWS)
"""Bytes above its edge, at least: else a guest would fall due to be asked between two looks, and to ask takes five
commands."""


FEW = 16
"""With so few there is nothing to save: all can be asked in one look between ticks or two (daemon/watches.py)."""


def calm(state: State, now: float, *, wary: bool = True, few: int = FEW) -> Collection[str]:
    """Keys of the guests of whom nothing is expected: not new, not moving, not growing, not near their edge.

    Nobody is calm where there are few, nor while the host is short, for then it counts what each can give; nor where
    nothing is looked for between two looks of the policy (`wary`: Policy.watch). A calm guest that begins to grow is
    seen by the time that its processors run, and asked (Engine.suspects), as it would be between looks of a second.
    """
    if not wary or len(state.tracks) <= few or state.wishes is None:
        return ()
    if state.account is None or state.account.short:
        return ()
    edges, wishes = state.wishes.edges, state.wishes.wishes
    return [
        key
        for key, track in state.tracks.items()
        if key in wishes
        and track.target >= wishes[key].urgent
        and _stands_still(track, now)
        and _has_spare(track, edges.get(key, 0))
    ]


def _stands_still(track: Track, now: float) -> bool:
    settled = now - track.moved_at >= SETTLED_S and not track.shrinking and track.asked_since is None
    known = track.health is Health.OK and now - max(track.met_at, track.ok_since) >= FIRST_S
    return settled and known and track.pause is None and not track.migrating


def _has_spare(track: Track, edge: int) -> bool:
    reading = track.reading
    if reading is None or reading.missed or abs(reading.growth) > GROWS:
        return False
    return reading.available - edge >= MARGIN
