"""squeezed: the memory manager of XAPI and XenServer (xen-api: ocaml/squeezed/lib/squeeze.ml, src/squeeze_xen.ml).

One number for all: every guest gets its minimum and the same part of what lies between its minimum and its maximum.
Memory is freed first, and given when nobody has any left to free. What a guest does inside does not matter.

10 s after the last look sizes are compared with what they should be. When they differ it looks once a second until
every guest has got where it should be. A guest that has not moved for 5 s while it should is left out of the sums, so
that the others make up for it, until that round of looks is over; and it is not to take later what it has not taken by
then.

What stands in for what: Xen's free memory is `unassigned`; it stands still while nobody is resized, ours trembles,
so that targets closer than the original's tolerance for free memory are taken to be the same. dynamic-min and
dynamic-max are floor and ceiling. Reservations for guests about to start are not in the schema. The original looks at
no statistics; here a guest whose statistics are old may not be moved, and is in no sum either.
"""

from collections.abc import Mapping

import msgspec

from autoballoon.core.model import Guest
from autoballoon.core.policy import Sight, Watch, Wishes
from autoballoon.core.track import Track
from autoballoon.core.units import KIB, MIB, page_floor
from autoballoon.policies.published import rule_wish, unassigned

CYCLE_S = 10.0
"""balance-check-interval."""
LOOK_S = 1.0
"""Between two looks of one round."""
STUCK_S = 5.0
"""assume_balloon_driver_stuck_after."""
KEPT_FREE = 72 * MIB
"""Left with the host: Xen's emergency pool of 64 MiB, and 8 MiB."""
INACCURACY = 4 * KIB
"""A guest this close to its target has reached it."""
TOLERANCE = 512 * KIB
"""free_memory_tolerance: memory need not be balanced more exactly than this."""


class Seen(msgspec.Struct, frozen=True):
    """A guest's size at the last look, and when it last came nearer to its target."""

    size: int
    progress_at: float
    stuck: bool = False


class Memory(msgspec.Struct, frozen=True):
    """When sizes were last found to be what they should be, and the round of looks that is under way, if one is."""

    settled_at: float = -1e9
    seen: Mapping[str, Seen] = {}
    in_round: bool = False


class Squeezed:
    """The rule of squeezed."""

    name = "squeezed"
    every_s = LOOK_S
    raw = True
    watch = Watch()

    def start(self) -> Memory:
        """No round is under way; the first look begins one if sizes are not what they should be."""
        return Memory()

    def wish(self, memory: Memory, sight: Sight, now: float) -> Wishes:
        """Sizes for those who must free memory; when nobody must, for those who get some; between rounds no wish."""
        if not memory.in_round and now - memory.settled_at < CYCLE_S - LOOK_S / 2:
            return Wishes(memory=memory, wishes={})
        seen = {
            guest.key: _look(memory.seen.get(guest.key), sight.tracks[guest.key], now)
            for guest in sight.movable
        }
        active = [guest for guest in sight.movable if not seen[guest.key].stuck]
        sizes, surplus = targets(active, unassigned(sight))
        sizes = phase(active, sizes)
        stuck = [guest.key for guest in sight.movable if seen[guest.key].stuck]
        clipped = {key: min(sight.tracks[key].target, sight.tracks[key].actual) for key in stuck}
        tracks = [sight.tracks[guest.key] for guest in active]
        differ = any(abs(size - sight.tracks[key].target) > TOLERANCE for key, size in sizes.items())
        under_way = any(abs(track.target - track.actual) > INACCURACY for track in tracks)
        goes_on = differ or (memory.in_round and under_way)
        given = sizes | clipped if goes_on else clipped
        return Wishes(
            memory=Memory(seen=seen, in_round=True) if goes_on else Memory(settled_at=now),
            wishes={key: rule_wish(size, surplus=surplus) for key, size in given.items()},
        )


def _look(last: Seen | None, track: Track, now: float) -> Seen:
    """What is known of the guest after this look; it is stuck when it had somewhere to go, and did not for STUCK_S."""
    if last is None:
        return Seen(track.actual, now)
    way = track.target - track.actual
    moved = track.actual - last.size
    wanted = abs(way) > INACCURACY
    if wanted and moved * way > 0:
        return Seen(track.actual, now)
    stuck = last.stuck or (wanted and now - last.progress_at > STUCK_S)
    return Seen(track.actual, last.progress_at, stuck)


def targets(guests: list[Guest], free: int) -> tuple[dict[str, int], int]:
    """Sizes by key, and the surplus over all minima that is shared out: min + gamma (max - min), one gamma for all."""
    freeable = sum(max(0, guest.actual - guest.floor - 2 * INACCURACY) for guest in guests)
    surplus = max(0, free + freeable - KEPT_FREE)
    ranges = {guest.key: max(0, guest.top - guest.floor) for guest in guests}
    whole = sum(ranges.values())
    gamma = min(1.0, surplus / whole) if whole else 0.0
    return {g.key: page_floor(g.floor + int(gamma * ranges[g.key])) for g in guests}, surplus


def phase(guests: list[Guest], sizes: dict[str, int]) -> dict[str, int]:
    """The sizes of those who have to free memory; of all others when nobody has."""
    freeing = {guest.key for guest in guests if sizes[guest.key] < guest.actual - INACCURACY}
    return {key: size for key, size in sizes.items() if key in freeing} if freeing else sizes
