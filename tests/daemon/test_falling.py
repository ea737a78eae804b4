"""When falling free memory is worth a tick of its own."""

from autoballoon.core.units import MIB
from autoballoon.daemon.falling import LOOK_EVERY_S, FreeWatch

RESERVE = 128 * MIB


def first_alarm(
    free_mib: float,
    rate_mib: float,
    next_tick: float,
    at_tick_mib: float | None = None,
    reserve: int = RESERVE,
) -> float | None:
    """Seconds after which the watch calls, with free memory falling at a steady rate (MiB/s) since now."""
    watch = FreeWatch()
    watch.ticked(round((free_mib if at_tick_mib is None else at_tick_mib) * MIB))
    for look in range(100):
        now = look * LOOK_EVERY_S
        if now >= next_tick:
            return None
        free = round((free_mib - rate_mib * now) * MIB)
        if watch.is_urgent(now, free, reserve, next_tick):
            return now
    return None


def test_a_fall_that_will_pass_the_reserve_is_seen_early() -> None:
    seen = first_alarm(1000, 1000, next_tick=1.0)
    assert seen is not None
    assert seen <= 0.2


def test_a_fall_from_just_above_a_large_reserve_is_seen_as_early() -> None:
    terabyte = 1024 * 1024
    seen = first_alarm(terabyte // 20 + 2048, 4096, next_tick=1.0, reserve=terabyte // 20 * MIB)
    assert seen is not None
    assert seen <= 0.2


def test_a_fall_that_ends_above_the_reserve_can_wait() -> None:
    assert first_alarm(1000, 500, next_tick=1.0) is None


def test_memory_that_stands_still_or_grows_never_calls() -> None:
    assert first_alarm(1000, 0, next_tick=1.0) is None
    assert first_alarm(10, 0, next_tick=1.0) is None
    assert first_alarm(100, -500, next_tick=1.0) is None


def test_below_the_reserve_only_a_further_fall_calls() -> None:
    assert first_alarm(100, 10, next_tick=1.0) is None  # 10 MiB: the last tick answered this level
    assert first_alarm(100, 50, next_tick=1.0) is not None


def test_nothing_is_urgent_before_the_first_tick() -> None:
    watch = FreeWatch()
    assert not watch.is_urgent(0.0, 500 * MIB, RESERVE, 10.0)
    assert not watch.is_urgent(0.1, 100 * MIB, RESERVE, 10.0)
