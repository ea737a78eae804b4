"""When a guest may not be made smaller."""

import msgspec

from autoballoon.core import guard
from autoballoon.core.health import observe
from autoballoon.core.model import Guest, Reason
from autoballoon.core.units import GIB, MIB


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
