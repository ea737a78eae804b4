"""What becomes of guests that we stopped: seen stopped, resumed by somebody else, told to run again.

Only what we stopped is ever resumed. A guest that somebody else stopped has no Pause, and is left alone.
"""

from collections.abc import Iterable, Mapping

import msgspec

from autoballoon.core.model import Guest, Reason, Resume, Suspend
from autoballoon.core.track import LAND_S, Pause, Track

SHOW_S = 3.0
"""A guest that still runs so long after it was told to stop is let run (QEMU answers within milliseconds): the order
may have been lost, or may yet arrive. One that still stands after it was told to run keeps nobody else from it."""
AGAIN_S = 1.0
"""A guest that is to run and does not is told so again after this time."""
SPARE_S = 600.0
"""A guest that somebody let run although we had stopped it is not stopped again before this time: whoever did so
wants it to run now, and ten minutes are enough to see what it is doing, or to take `may_suspend` from it."""


def follow(track: Track, guest: Guest, now: float, owed: int | None) -> Track:
    """The track after seeing whether the guest runs. `owed`: the process that an earlier daemon of ours stopped."""
    pause = track.pause
    if pause is None:
        if owed is not None and owed == guest.pid and not guest.running:
            orphan = Pause(pid=owed, at=now, need=guest.actual, seen=True, is_orphan=True)
            track = msgspec.structs.replace(track, pause=orphan)
    elif guest.pid is not None and guest.pid != pause.pid:
        track = msgspec.structs.replace(track, pause=None)
    elif not guest.running:
        if not pause.seen:
            track = _with(track, msgspec.structs.replace(pause, seen=True))
    elif pause.seen:
        spared_until = track.spared_until if pause.resumed_at is not None else now + SPARE_S
        track = msgspec.structs.replace(track, pause=None, spared_until=spared_until)
    elif pause.resumed_at is not None and guest.age_s is not None and now - guest.age_s > pause.at + LAND_S:
        # It was not seen stopped, and lives: it has sent statistics since the order to stop can have been carried out.
        track = msgspec.structs.replace(track, pause=None, spared_until=now + SPARE_S)
    return track


def learnt(track: Track, order: Suspend | Resume, done: bool | None, now: float) -> Track:
    """The track after an order was carried out (True), is not ours to carry out (False), or may have been (None)."""
    pause = track.pause
    if pause is None or done is None:
        return track
    # Somebody else had stopped it before we could, or it stands still by now for a reason that is not ours.
    is_not_ours = not done and (isinstance(order, Resume) or pause.resumed_at is None)
    runs_unseen = done and isinstance(order, Resume) and not pause.seen
    if is_not_ours or runs_unseen:
        return msgspec.structs.replace(track, pause=None, spared_until=now + SPARE_S)
    return track


def still_owed(
    owed: Mapping[str, int], before: Mapping[str, Track], guests: Iterable[Guest]
) -> Mapping[str, int]:
    """Who is stopped by us and out of sight, by key: what an earlier daemon left, and what has vanished since."""
    pids = {guest.key: guest.pid for guest in guests}
    out_of_sight = {key: pid for key, pid in owed.items() if pids.get(key) is None}
    for key, track in before.items():
        if track.pause is not None and key not in pids:
            out_of_sight[key] = track.pause.pid
    return out_of_sight


def resume(
    guest: Guest, track: Track, reason: Reason, numbers: dict[str, int | float], now: float
) -> tuple[Resume, Track]:
    """The order to run again, and the track that remembers it."""
    pause = track.pause
    assert pause is not None
    numbers = numbers | {"stopped_s": now - pause.at}
    called_at = now if pause.called_at is None else pause.called_at
    return Resume(guest.key, guest.name, reason, numbers), _with(
        track, msgspec.structs.replace(pause, resumed_at=now, called_at=called_at)
    )


def is_late(track: Track, guest: Guest, now: float) -> bool:
    """It was told to stop, and did not."""
    pause = track.pause
    return (
        pause is not None
        and not pause.seen
        and pause.resumed_at is None
        and guest.running
        and now - pause.at > SHOW_S
    )


def is_deaf(pause: Pause, guest: Guest, now: float) -> bool:
    """It has long been told to run, and does not."""
    return pause.called_at is not None and not guest.running and now - pause.called_at > SHOW_S


def is_due(pause: Pause, now: float) -> bool:
    """Whether a guest that is to run may be told so now, for the first time or again."""
    return pause.resumed_at is None or now - pause.resumed_at >= AGAIN_S


def _with(track: Track, pause: Pause) -> Track:
    return msgspec.structs.replace(track, pause=pause)
