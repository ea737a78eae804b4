"""What outlives a daemon: what is known of guests and cannot be seen of them again.

`Kept` is what the state file holds (daemon/statefile.py), what `Engine.start` takes and `Engine.kept` gives back.
"""

from collections.abc import Iterable, Mapping

import msgspec

from autoballoon.core.track import Track

LATE_S = 1.0
"""A shrink that has come to its end by then is not kept (inflating 320 MiB took 0.4 s)."""
EVERYONE = "*"
"""In place of a key: every guest there is and every one to come. No key is like it: keys are paths and URIs."""


class KeptGuest(msgspec.Struct, frozen=True, gc=False):
    """What is kept of one guest for as long as its QEMU process lives."""

    pid: int
    ceiling: int | None = None
    """I6: a size that somebody else set, bytes."""
    learnt: int = 0
    """The size at which it fought: took memory back, could not give what was asked, or waited for memory; bytes."""
    learnt_at: float = 0.0
    """When it was learnt, monotonic seconds: they go on counting while no daemon runs, until the host boots."""
    asked: int | None = None
    """What it was asked to be, and has not become in LATE_S: it may still go there, whoever looks at it then; bytes."""


class Kept(msgspec.Struct, frozen=True):
    """All that is kept. By the guests' keys."""

    guests: Mapping[str, KeptGuest] = {}
    holds: frozenset[str] = frozenset()
    """Guests that are never shrunk until `unhold`, running or not; EVERYONE may be among them."""
    suspended: Mapping[str, int] = {}
    """Guests that we stopped, and their QEMU process: they are to run again."""


def kept_of(track: Track) -> KeptGuest | None:
    """What is worth keeping of this guest, if anything is; nothing of one whose process nobody could tell again."""
    asked = _unfinished(track)
    if track.pid is None or (track.adopted is None and not track.learnt and asked is None):
        return None
    return KeptGuest(track.pid, track.adopted, track.learnt, track.learnt_at, asked)


def _unfinished(track: Track) -> int | None:
    """What the guest was asked to be, by us or by a daemon before us, and has not become."""
    if not track.ours:
        return track.asked_before
    is_late = track.reading is not None and track.reading.taken_at >= track.set_at + LATE_S
    return track.target if track.shrinking and is_late else None


def recalled(track: Track, kept: KeptGuest, now: float) -> Track:
    """The track of a guest whose process has just become known, with what was kept of it; another process is another
    guest. What has been seen of it since it was met is newer."""
    if track.pid != kept.pid:
        return track
    if not track.learnt:
        learnt_at = min(kept.learnt_at, now)
        track = msgspec.structs.replace(track, learnt=kept.learnt, learnt_at=learnt_at, beyond=kept.learnt)
    return msgspec.structs.replace(
        track,
        adopted=kept.ceiling if track.adopted is None else track.adopted,
        asked_before=None if track.ours else kept.asked,
    )


def out_of_sight(
    unseen: Mapping[str, KeptGuest], before: Mapping[str, Track], seen: Mapping[str, Track]
) -> Mapping[str, KeptGuest]:
    """What is kept of guests that are not `seen` now, or whose process is not known: of those before, and of those that
    have just vanished."""
    if not unseen and before.keys() <= seen.keys():
        return unseen
    left = {key: kept for key, kept in unseen.items() if key not in seen or seen[key].pid is None}
    for key, track in before.items():
        if key not in seen and (kept := kept_of(track)) is not None:
            left[key] = kept
    return left


def without_hold(holds: frozenset[str], key: str, known: Iterable[str]) -> frozenset[str]:
    """The holds when `key` is let go; where everyone was held, the others that are `known` stay so."""
    if key == EVERYONE:
        return frozenset()
    if EVERYONE in holds:
        holds = holds.union(known) - {EVERYONE}
    return holds - {key}
