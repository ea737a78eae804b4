import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from autoballoon.core.units import MIB
from autoballoon.lab.followed import VOICES_S, Followed, balloons_of
from autoballoon.lab.vm import Event


def test_a_target_is_reached_by_who_is_there_in_the_end() -> None:
    followed = Followed()
    followed.asked({"a": 200 * MIB, "b": 200 * MIB}, 10.0)
    followed.seen({"a": 512 * MIB, "b": 512 * MIB}, 11.0)
    followed.seen({"a": 200 * MIB, "b": 210 * MIB}, 12.5)
    assert followed.extra() == {"targets": 2, "targets_reached": 1, "target_s": None, "headrooms": None}
    followed.seen({"b": 200 * MIB}, 14.0)
    assert followed.extra() == {"targets": 2, "targets_reached": 2, "target_s": 4.0, "headrooms": None}
    followed.seen({"a": 260 * MIB}, 15.0)
    assert followed.extra() == {"targets": 2, "targets_reached": 1, "target_s": None, "headrooms": None}, (
        "a took it back"
    )


def test_what_was_seen_before_a_target_says_nothing_about_it() -> None:
    followed = Followed()
    followed.asked({"a": 512 * MIB}, 10.0)
    followed.seen({"a": 512 * MIB, "never asked": 512 * MIB}, 9.5)
    assert followed.extra() == {"targets": 1, "targets_reached": 0, "target_s": None, "headrooms": None}


def test_a_decision_of_the_controller_is_a_target_and_a_stay_is_none() -> None:
    followed = Followed()
    stays = {"guest": "b", "kind": "stay", "from": None, "to": None}
    followed.told(
        {"decisions": [{"guest": "a", "kind": "set-target", "from": 0, "to": 300 * MIB}, stays]}, 1.0
    )
    followed.seen({"a": 300 * MIB, "b": 1}, 2.0)
    assert followed.extra() == {"targets": 1, "targets_reached": 1, "target_s": 1.0, "headrooms": None}
    assert Followed().extra()["targets"] == 0


def test_pages_are_those_that_guests_told_of_last_and_unknown_where_none_did() -> None:
    def done(inflated: int, deflated: int) -> Event:
        return Event(name="done", at=1.0, data={"inflated": inflated, "deflated": deflated})

    begin = Event(name="begin", at=0.0, data={"n": 0})
    assert balloons_of([[begin, done(100, 40)], [done(50, 50), done(70, 50)], [begin]]) == {
        "inflated_pages": 170,
        "kept_pages": 80,
    }
    assert balloons_of([[begin]]) == {"inflated_pages": None, "kept_pages": None}


def test_what_is_kept_for_growth_is_averaged_over_time() -> None:
    def tick(*kept: int) -> dict[str, list[dict[str, object]]]:
        return {
            "decisions": [
                {"guest": "g", "kind": "stay", "numbers": {"headroom": n} if n else {}} for n in kept
            ]
        }

    followed = Followed()
    for at_s, kept in ((0.0, (30, 10)), (3.0, (20,)), (3.5, (0, 0)), (4.0, (90,))):
        followed.told(tick(*kept), at_s)
    assert (
        followed.extra()["headrooms"] == 35
    )  # 40 for 3 s, then 20 for 1 s: a tick that tells of none is left out


def test_the_go_waits_for_agents_that_have_not_been_heard_and_not_for_ever(
    virtually: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    def tick(**ages: float | None) -> dict[str, Any]:
        return {"daemon": {"agents": {name: {"age_s": age_s} for name, age_s in ages.items()}}}

    async def main() -> None:
        followed, loop = Followed(), asyncio.get_running_loop()
        followed.told(tick(a=0.5, b=None), 1.0)
        loop.call_later(5.0, followed.told, tick(a=0.5, b=0.1), 6.0)
        began = loop.time()
        assert await followed.silent(["a", "b"]) == []
        assert 5.0 <= loop.time() - began <= 5.5
        assert await followed.silent(["a", "c"]) == ["c"]
        assert loop.time() - began >= VOICES_S

    virtually(main())
