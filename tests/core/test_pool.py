"""What a guest is charged, of the pool that all share."""

import msgspec
import pytest

from autoballoon.core.model import Guest
from autoballoon.core.pool import OVERHANG_S, YOUNG_OVERHEAD, YOUNG_S, charge_of, overhang_of
from autoballoon.core.track import Health, Pause, Track
from autoballoon.core.units import MIB

MAX, OVERHEAD = 512, 30


@pytest.mark.parametrize(
    ("health", "ours", "target", "actual", "resident", "holds"),
    [
        # The largest of what it was promised, what it says that it is, and what the host sees.
        (Health.OK, True, 400, 300, 200, 400),
        (Health.OK, True, 200, 400, 300, 400),
        (Health.OK, True, 200, 300, 450, 450),
        (Health.SILENT, True, 200, 300, 450, 450),
        (Health.STOPPED, True, 200, 400, 300, 400),
        # One that boots takes all it is given before its driver is up: its boot target binds it, else nothing does.
        (Health.BOOTING, False, MAX, MAX, 100, MAX),
        (Health.BOOTING, True, 200, MAX, 100, 200),
        (Health.BOOTING, True, 200, MAX, 250, 250),
        # Without a driver no target binds it, and what comes in is as large as it was elsewhere.
        (Health.NO_DRIVER, False, MAX, MAX, 100, MAX),
        (Health.NO_DRIVER, True, 200, MAX, 100, MAX),
        (Health.INCOMING, False, MAX, MAX, 100, MAX),
        (Health.INCOMING, True, 200, 300, 100, MAX),
        # One that is left alone is counted at what it holds.
        (Health.UNMANAGED, False, MAX, MAX, 100, 100),
        (Health.UNMANAGED, False, MAX, 300, None, 300),
    ],
)
def test_what_is_charged(
    health: Health, ours: bool, target: int, actual: int, resident: int | None, holds: int
) -> None:
    guest = Guest(
        key="g", name="g", max=MAX * MIB, actual=actual * MIB, overhead=OVERHEAD * MIB,
        resident=None if resident is None else resident * MIB,
    )  # fmt: skip
    track = Track(target * MIB, target * MIB, actual * MIB, health, ours=ours)
    assert charge_of(guest, track) == (OVERHEAD + holds) * MIB


@pytest.mark.parametrize(
    ("pid", "up_s", "overhead"),
    [(7, 1.0, YOUNG_OVERHEAD), (7, YOUNG_S, 0), (7, None, 0), (None, 1.0, 0)],
)
def test_a_young_qemu_is_charged_what_it_will_take(
    pid: int | None, up_s: float | None, overhead: int
) -> None:
    guest = Guest(key="g", name="g", max=MAX * MIB, actual=MAX * MIB, pid=pid, up_s=up_s)
    assert charge_of(guest, Track(guest.max, guest.max, guest.max, Health.OK)) == guest.max + overhead


def test_what_we_have_stopped_is_charged_what_the_host_holds_of_it() -> None:
    guest = Guest("g", "g", 512 * MIB, 400 * MIB, pid=7, running=False, resident=100 * MIB, overhead=30 * MIB)
    track = Track(guest.actual, guest.actual, guest.actual, Health.STOPPED, ours=True)
    ours = msgspec.structs.replace(track, pause=Pause(pid=7, at=0.0, need=400 * MIB))
    assert charge_of(guest, track) == 430 * MIB, "somebody else may let it run at any time"
    assert charge_of(guest, ours) == 130 * MIB
    assert charge_of(msgspec.structs.replace(guest, running=True), ours) == 430 * MIB


def test_what_the_host_holds_beyond_a_size_that_has_just_changed_is_on_its_way() -> None:
    guest = Guest("g", "g", 512 * MIB, 300 * MIB, resident=500 * MIB)
    track = Track(guest.actual, guest.actual, guest.actual, Health.OK, set_at=100.0)
    assert overhang_of(guest, track, 99.9 + OVERHANG_S) == 0
    assert overhang_of(guest, track, 100.0 + OVERHANG_S) == (500 - 300 - 16) * MIB
