"""One guest's lives: when one begins, and how long its driver is waited for."""

import msgspec
import pytest

from autoballoon.core import guard
from autoballoon.core.health import DRIVER_WAIT_S, observe
from autoballoon.core.model import Guest
from autoballoon.core.pool import charge_of
from autoballoon.core.track import Health, Track
from autoballoon.core.units import GIB, MIB

BOOTS = Guest("g", "g", GIB, GIB, pid=7, driver=False)
LIVES = msgspec.structs.replace(BOOTS, driver=True, age_s=0.0, available=500 * MIB)
STANDS = msgspec.structs.replace(LIVES, running=False)
STANDS_EARLY = msgspec.structs.replace(BOOTS, running=False)


def seen(*looks: tuple[float, float, Guest]) -> Track:
    """The track after looks at a guest, each at a time and so long after its start or reset."""
    track = None
    for now, up_s, guest in looks:
        track = observe(track, msgspec.structs.replace(guest, up_s=up_s), now)
    assert track is not None
    return track


@pytest.mark.parametrize(
    ("last", "health"),
    [
        ((10.0, BOOTS), Health.BOOTING),
        ((40.0, BOOTS), Health.NO_DRIVER),
        ((40.0, LIVES), Health.OK),
        ((40.0, STANDS), Health.STOPPED),
        ((40.0, STANDS_EARLY), Health.STOPPED),
    ],
)
@pytest.mark.parametrize("first", [BOOTS, STANDS_EARLY], ids=["runs", "stands still first"])
def test_a_reset_is_seen_whatever_the_guest_was_doing(
    last: tuple[float, Guest], health: Health, first: Guest
) -> None:
    up_s, guest = last
    before = seen((100.0, up_s, guest))
    before = msgspec.structs.replace(before, target=300 * MIB, before=300 * MIB, ours=True)
    assert before.health is health
    after = before
    for now, runs in ((140.0, first), (141.0, BOOTS)):
        after = observe(after, msgspec.structs.replace(runs, up_s=now - 139.5), now)
    assert (after.health, after.ours, after.boots) == (Health.BOOTING, False, True)
    assert after.asked_before == 300 * MIB


@pytest.mark.parametrize("met", [0.0, 50.0], ids=["from its start", "when it has long stood still"])
def test_a_driver_is_not_waited_for_while_its_guest_stands_still(met: float) -> None:
    still = [(float(now), float(now), STANDS_EARLY) for now in range(round(met), 60)]
    assert seen(*still, (60.0, 60.0, BOOTS)).health is Health.BOOTING
    assert seen(*still, (58.0 + DRIVER_WAIT_S, 58.0 + DRIVER_WAIT_S, BOOTS)).health is Health.BOOTING
    assert seen(*still, (60.0 + DRIVER_WAIT_S, 60.0 + DRIVER_WAIT_S, BOOTS)).health is Health.NO_DRIVER


def test_one_that_was_found_to_have_no_driver_is_not_waited_for_again_when_it_is_stopped() -> None:
    ran = [(float(now), float(now), BOOTS) for now in range(40)]
    still = [(float(now), float(now), STANDS_EARLY) for now in range(40, 60)]
    assert seen(*ran, *still, (60.0, 60.0, BOOTS)).health is Health.NO_DRIVER


@pytest.mark.parametrize("pid", [7, 8, None])
def test_what_was_set_by_hand_ends_with_its_qemu_and_not_with_a_reset(pid: int | None) -> None:
    before = msgspec.structs.replace(
        seen((100.0, 40.0, LIVES)), adopted=400 * MIB, target=400 * MIB, before=400 * MIB, ours=True,
        spared_until=700.0,
    )  # fmt: skip
    after = observe(before, msgspec.structs.replace(BOOTS, pid=pid, up_s=0.4), 101.0)
    kept = (after.adopted, after.asked_before, after.spared_until)
    assert kept == ((None, None, -1e9) if pid == 8 else (400 * MIB, 400 * MIB, 700.0))


def test_one_that_is_reset_over_and_over_before_any_driver_is_up_is_charged_all_that_it_may_take() -> None:
    """Each life gets a boot target, and nothing holds it to that."""
    track = None
    for second in range(100):
        guest = msgspec.structs.replace(BOOTS, up_s=second % 25 + 0.5, resident=100 * MIB)
        track = observe(track, guest, float(second))
        track = msgspec.structs.replace(track, ours=True, target=400 * MIB)
        assert track.health is Health.BOOTING
        assert charge_of(guest, track) >= (400 * MIB if second < 25 else GIB)
    assert track is not None and track.driverless
    assert not observe(track, msgspec.structs.replace(LIVES, up_s=26.0), 100.0).driverless


def test_a_reset_that_no_driver_noticed_is_no_way_out_of_a_shrink() -> None:
    asked = msgspec.structs.replace(
        seen((100.0, 40.0, LIVES)), target=300 * MIB, before=300 * MIB, ours=True, reached=False
    )
    after = observe(asked, msgspec.structs.replace(LIVES, up_s=0.4), 101.0)
    assert after.cool_until == 101.0 + guard.STUCK_COOL_S


def test_one_that_moves_when_it_is_met_was_set_by_nobody() -> None:
    track = None
    for second, mib in enumerate((1024, 800, 600, 600, 600, 600)):
        now = 100.0 + second
        one = msgspec.structs.replace(LIVES, actual=mib * MIB, resident=mib * MIB, up_s=now)
        track = observe(track, one, now)
    assert track is not None and track.adopted is None


@pytest.mark.parametrize(("up_s", "health"), [(5.0, Health.BOOTING), (40.0, Health.SILENT)])
def test_before_qemu_7_2_a_young_guest_that_never_answered_boots(up_s: float, health: Health) -> None:
    assert seen((100.0, up_s, msgspec.structs.replace(BOOTS, driver=None))).health is health
