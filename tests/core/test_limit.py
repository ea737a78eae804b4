"""What the kernel is to hold a guest to (`[host] contain`)."""

import pytest

from autoballoon.core.limit import SLACK_MIN, limit_of
from autoballoon.core.model import Guest
from autoballoon.core.track import Health, Track
from autoballoon.core.units import GIB, MIB


@pytest.mark.parametrize("health", list(Health))
def test_neither_silence_nor_a_stop_frees_a_guest_of_its_limit(health: Health) -> None:
    guest = Guest("g", "g", GIB, 600 * MIB, pid=7, up_s=500.0, resident=600 * MIB, overhead=30 * MIB)
    track = Track(guest.actual, guest.actual, guest.actual, health, ours=True)
    bound = health in (Health.OK, Health.SILENT, Health.STOPPED)
    assert limit_of(guest, track) == (630 * MIB + SLACK_MIN if bound else None)
