"""When a guest may not be made smaller."""

import msgspec

from autoballoon.core import guard
from autoballoon.core.health import observe
from autoballoon.core.model import Guest, Reason
from autoballoon.core.units import GIB, MIB

GUEST = Guest("web", "web", GIB, GIB, available=500 * MIB, age_s=0.0, driver=True, pid=1)


def test_one_that_took_memory_back_is_not_shrunk_before_a_while_and_a_reading_since() -> None:
    guest = Guest("web", "web", GIB, 600 * MIB, total=GIB, available=300 * MIB, age_s=5.0, driver=True, pid=1)
    track = msgspec.structs.replace(
        observe(None, guest, 100.0), grace_until=0.0, asked_since=90.0, changed_at=98.0
    )
    cool = guard.cool_down(guest, track, Reason.DEFLATED)
    deflated = msgspec.structs.replace(track, cool_until=100.0 + cool)
    assert guard.bars_shrink(deflated, 100.0) is Reason.COOL_DOWN
    assert guard.bars_shrink(deflated, 100.0 + cool) is Reason.WAIT_READING
    told = msgspec.structs.replace(deflated, changed_at=90.0)
    assert guard.bars_shrink(told, 100.0 + cool) is None


def test_a_size_is_adopted_when_it_stands() -> None:
    guest = msgspec.structs.replace(GUEST, actual=600 * MIB)
    track = msgspec.structs.replace(observe(None, guest, 100.0), below=2, changed_at=99.5)
    assert not guard.is_manual(guest, track, 99.4 + guard.STILL_S)
    assert guard.is_manual(guest, track, 99.5 + guard.STILL_S)


def test_one_that_has_just_freed_what_it_was_asked_for_is_asked_again_soon() -> None:
    track = observe(None, GUEST, 100.0)
    assert track.reading is not None
    freed = msgspec.structs.replace(track, reading=msgspec.structs.replace(track.reading, growth=-60.0 * MIB))
    assert guard.refusal_s(track, 100 * MIB) == guard.STUCK_COOL_S
    assert guard.refusal_s(freed, 100 * MIB) == guard.FULL_COOL_S


def test_one_that_stayed_though_it_was_to_be_migrated_is_not_shrunk_at_once() -> None:
    track = None
    for now in (100.0, 101.0, 102.0):
        sight = msgspec.structs.replace(GUEST, up_s=now, migrating=now == 101.0)
        track = observe(track, sight, now)
    assert track is not None and not track.migrating
    assert guard.bars_shrink(track, 105.9) is Reason.COOL_DOWN
