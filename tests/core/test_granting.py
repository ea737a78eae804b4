"""What is granted, and to whom, where there is not enough for all."""

from autoballoon.core.model import Guest, Host, Reason, SetTarget, Snapshot
from autoballoon.core.policy import Wish, Wishes
from autoballoon.core.pool import Account
from autoballoon.core.track import OK, Track
from autoballoon.core.turn import Turn
from autoballoon.core.units import GIB, MIB


def grown(room: int, cushion: int, **guests: tuple[int, int, int]) -> dict[str, int]:
    """By how much each grows: of each its maximum, its size, and the size at which its warm cache would fit."""
    shown = tuple(Guest(name, name, most, size, ceiling=most) for name, (most, size, _) in guests.items())
    tracks = {name: Track(size, size, size, OK, ours=True) for name, (_, size, _) in guests.items()}
    wishes = {
        name: Wish(used, Reason.GIVE_BACK, need=size // 2, urgent=size // 2, used=used)
        for name, (_, size, used) in guests.items()
    }
    account = Account(64 * GIB, 64 * GIB, 0, 0, pool=64 * GIB, charges=64 * GIB - room, cushion=cushion)
    snapshot = Snapshot(Host(64 * GIB, 64 * GIB), shown)
    turn = Turn(snapshot, tracks, account, Wishes(None, wishes, cushion=cushion), 100.0, raw=False, idle=0)
    return {one.key: one.size - one.before for one in turn.decide() if isinstance(one, SetTarget)}


def test_a_guest_a_little_below_its_floor_is_brought_to_it() -> None:
    """The operator has raised it by less than is worth a move otherwise."""
    size, floor = 257 * MIB, 260 * MIB
    guest = Guest("g", "g", 512 * MIB, size, floor=floor)
    wishes = Wishes(None, {"g": Wish(480 * MIB, Reason.NEED, need=size, urgent=floor, used=floor)})
    account = Account(GIB, GIB, 0, 0, pool=GIB, charges=size)
    snapshot, tracks = Snapshot(Host(GIB, GIB), (guest,)), {"g": Track(size, size, size, OK, ours=True)}
    (decision,) = Turn(snapshot, tracks, account, wishes, 100.0, raw=False, idle=0).decide()
    assert isinstance(decision, SetTarget) and decision.size == floor


def test_what_is_too_little_for_a_large_guest_goes_to_small_ones() -> None:
    """A move of less than a fiftieth of its maximum is worth nothing to it."""
    small = (GIB, 512 * MIB, 768 * MIB)
    large = (64 * GIB, 8 * GIB, 18 * GIB)
    assert grown(4 * GIB, 0, large=large, small=small) == {"large": 4 * GIB}
    assert grown(GIB, 0, large=large, small=small) == {"small": 256 * MIB}
    assert grown(GIB, 0, large=large) == {}
