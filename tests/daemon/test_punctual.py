"""How late ticks came, as the status tells it."""

from autoballoon.daemon.punctual import LATELY, Punctuality
from autoballoon.views.status import Lateness


def test_before_the_first_tick_nothing_was_late() -> None:
    assert Punctuality().lately() == Lateness(ticks=0, missed=0, p50_s=0.0, p99_s=0.0, most_s=0.0)


def test_one_late_tick_among_many() -> None:
    ticks = Punctuality()
    for late_s in (*[0.001] * 20, 2.5, *[0.003] * 30):
        ticks.note(late_s, interval_s=1.0)
    assert ticks.lately() == Lateness(ticks=51, missed=2, p50_s=0.003, p99_s=2.5, most_s=2.5)


def test_what_was_long_ago_is_forgotten() -> None:
    ticks = Punctuality()
    ticks.note(9.0, interval_s=1.0)
    for _ in range(LATELY):
        ticks.note(0.0, interval_s=1.0)
    assert ticks.lately().most_s == 0.0 and ticks.lately().missed == 0
