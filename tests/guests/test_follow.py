"""When a moving balloon is looked at."""

import pytest

from autoballoon.core.units import MIB
from autoballoon.guests.follow import (
    EVENT_GAP_S,
    FOLLOW_DOWN_S,
    FOLLOW_S,
    FOLLOW_UP_S,
    LATEST_S,
    SOONEST_S,
    Follow,
)


def test_a_shrink_is_looked_at_often_until_it_has_arrived() -> None:
    follow = Follow()
    follow.begin(10.0, 512 * MIB, 300 * MIB)
    assert follow.at == 10.0 + FOLLOW_DOWN_S and follow.is_unsure(10.0)
    assert not follow.looked(10.1, 400 * MIB)
    assert follow.at == pytest.approx(10.1 + 100 / 1120), "as fast as it was so far"
    assert follow.looked(10.2, 300 * MIB)
    assert follow.at is None and not follow.is_unsure(10.2)


def test_the_next_shrink_is_looked_at_when_it_should_have_arrived() -> None:
    follow = Follow()
    follow.begin(10.0, 512 * MIB, 412 * MIB)
    assert not follow.looked(10.1, 492 * MIB)
    assert follow.at == pytest.approx(10.1 + LATEST_S), "200 MiB a second, but not that late"
    assert follow.looked(10.4, 412 * MIB)
    follow.begin(20.0, 412 * MIB, 384 * MIB)
    assert 20.08 < (follow.at or 0) < 20.14
    assert follow.looked(20.1, 384 * MIB)
    follow.begin(30.0, 384 * MIB, 383 * MIB)
    assert follow.at == pytest.approx(30.0 + SOONEST_S)


def test_of_one_that_no_longer_moves_nothing_is_foretold() -> None:
    follow = Follow()
    follow.begin(10.0, 512 * MIB, 412 * MIB)
    assert not follow.looked(10.1, 413 * MIB)
    assert not follow.looked(10.14, 413 * MIB)
    assert follow.at == pytest.approx(10.14 + FOLLOW_DOWN_S)


def test_a_grow_is_looked_at_less_often_and_a_stuck_one_not_for_ever() -> None:
    follow = Follow()
    follow.begin(10.0, 300 * MIB, 512 * MIB)
    assert follow.grows and follow.at == 10.0 + FOLLOW_UP_S
    assert not follow.looked(10.5, 300 * MIB)
    assert follow.looked(10.0 + FOLLOW_S, 300 * MIB)


def test_one_that_moves_by_itself_is_followed_until_it_stands_still() -> None:
    follow = Follow()
    follow.begin(10.0, 512 * MIB)
    assert not follow.looked(10.1, 500 * MIB)
    assert follow.looked(10.2, 500 * MIB)


def test_an_answer_that_comes_after_the_end_begins_nothing() -> None:
    follow = Follow()
    follow.begin(10.0, 512 * MIB, 300 * MIB)
    follow.stop()
    assert not follow.looked(10.1, 400 * MIB) and follow.at is None


def test_after_an_event_the_next_one_may_be_on_its_way() -> None:
    follow = Follow()
    assert not follow.is_unsure(10.0)
    follow.told(10.0)
    assert follow.is_unsure(10.0 + EVENT_GAP_S / 2)
    assert not follow.is_unsure(10.0 + EVENT_GAP_S)
