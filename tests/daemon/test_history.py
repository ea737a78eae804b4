"""The history: equal stays are one entry, and no number of guests or moves makes it grow beyond its bounds."""

import tracemalloc

from autoballoon.core.model import Decision, Reason, SetTarget, Stay
from autoballoon.core.units import MIB
from autoballoon.daemon.history import MOST, MOST_EACH, MOST_GONE, MOST_TOLD, History


class Clock:
    now = 100.0


def history() -> tuple[Clock, History]:
    clock = Clock()
    return clock, History(lambda: clock.now, lambda: clock.now + 1e9)


def stay(key: str, reason: Reason, need: int = 0) -> Stay:
    return Stay(f"/run/{key}", key, reason, {"need": need}, size=300 * MIB)


def move(key: str, size: int = 200 * MIB, before: int = 300 * MIB) -> SetTarget:
    return SetTarget(f"/run/{key}", key, Reason.TAKE_SURPLUS, {}, before=before, size=size)


def test_stays_for_one_reason_are_one_entry_with_the_newest_numbers() -> None:
    clock, past = history()
    for need in range(10):
        past.add([stay("web", Reason.SETTLED, need)], clock.now)
        clock.now += 1
    past.add([move("web")], clock.now)
    clock.now += 1
    past.add([stay("web", Reason.SETTLED)], clock.now)
    told = past.tell("web", None)
    assert told is not None
    assert [(one.from_s - 1e9, one.to_s - 1e9, one.ticks, one.reason) for one in told.entries] == [
        (100, 109, 10, "settled"),
        (110, 110, 1, "take-surplus"),
        (111, 111, 1, "settled"),
    ]
    assert told.entries[0].numbers == {"need": 9}
    recent = past.tell("/run/web", 1.5)
    assert recent is not None
    assert [one.reason for one in recent.entries] == ["take-surplus", "settled"]
    assert past.tell("db", None) is None


def test_a_dry_run_that_would_make_one_move_again_and_again_is_one_entry() -> None:
    clock, past = history()
    for n in range(10):
        past.add([move("web", 200 * MIB + n)], clock.now)
        clock.now += 1
    told = past.tell("web", None)
    assert told is not None
    assert [(one.ticks, one.size) for one in told.entries] == [(10, 200 * MIB + 9)]


def test_a_spell_is_told_when_it_lasts_into_the_time_that_was_asked_for() -> None:
    clock, past = history()
    for _ in range(100):
        past.add([stay("web", Reason.SETTLED)], clock.now)
        clock.now += 1
    told = past.tell(None, 5)
    assert told is not None
    assert [one.ticks for one in told.entries] == [100]


def test_changing_reasons_push_no_move_out() -> None:
    clock, past = history()
    past.add([move("web")], clock.now)
    for n in range(1000):
        clock.now += 1
        past.add([stay("web", (Reason.SETTLED, Reason.SMALL)[n % 2])], clock.now)
    told = past.tell("web", None)
    assert told is not None
    assert told.entries[0].kind == "set-target"
    assert len(told.entries) == MOST_EACH + 1


def test_the_clock_may_step() -> None:
    ahead = 0.0
    clock = Clock()
    past = History(lambda: clock.now, lambda: clock.now + ahead)
    past.add([move("web")], clock.now)
    ahead = 3600.0
    clock.now += 1
    past.add([move("web", before=200 * MIB)], clock.now)
    told = past.tell("web", None)
    assert told is not None
    assert [one.from_s for one in told.entries] == [3700.0, 3701.0]


def test_a_thousand_lively_guests_fit() -> None:
    clock, past = history()
    tracemalloc.start()
    try:
        for tick in range(60):
            decisions: list[Decision] = [
                move(f"g{n}", tick, tick)
                if tick % 2
                else stay(f"g{n}", (Reason.SETTLED, Reason.SMALL)[tick % 4 // 2], tick)
                for n in range(1000)
            ]
            past.add(decisions, clock.now)
            clock.now += 1
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(past) <= MOST
    assert held < 60 * MIB
    told = past.tell(None, None)
    assert told is not None
    assert len(told.entries) == MOST_TOLD
    assert told.left_out == len(past) - MOST_TOLD


def test_guests_that_are_gone_are_forgotten_in_time_and_orders_too() -> None:
    clock, past = history()
    for n in range(1000):
        past.add([move(f"g{n}")], clock.now)
        past.order(f"g{n}", "hold")
        clock.now += 1
    assert len(past) <= 2 * MOST_GONE + 200 + 1
    assert past.tell("g999", None) is not None
    assert past.tell("g1", None) is None
