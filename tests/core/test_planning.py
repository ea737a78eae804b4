"""What a plan answers to the questions that an operator has."""

from typing import Any

import msgspec
import pytest

from autoballoon.core.engine import Engine, Rules
from autoballoon.core.model import Guest, Host, Reason, SetTarget, Snapshot, Stay, Suspend
from autoballoon.core.planning import Plan, plan
from autoballoon.core.units import GIB, MIB, PAGE
from autoballoon.policies import POLICIES, policy_named


def guest(name: str, most: int, actual: int, available: int | None, **fields: Any) -> Guest:
    shown = {"floor": most // 4, "resident": actual, "age_s": 0.0} | fields
    return Guest(key=name, name=name, max=most, actual=actual, available=available, **shown)


def planned(
    capacity: int, *guests: Guest, other: int = 0, policy: str = "ladder", overload: str = "host-swap"
) -> Plan:
    held = sum(one.resident or 0 for one in guests)
    snapshot = Snapshot(Host(capacity, max(0, capacity - held - other)), guests)
    return plan(Engine(Rules(overload=overload), policy_named(policy)), snapshot)


def targets(answer: Plan) -> dict[str, int]:
    return {d.key: d.size for d in answer.decisions if isinstance(d, SetTarget | Stay)}


def test_a_starving_guest_among_idle_caches_is_given_memory_at_once() -> None:
    idle = [guest(f"idle{n}", 8 * GIB, 6 * GIB, 9 * GIB // 2, caches=4 * GIB) for n in range(4)]
    answer = planned(32 * GIB, *idle, guest("hungry", 12 * GIB, 4 * GIB, 50 * MIB))
    assert targets(answer)["hungry"] > 4 * GIB + 512 * MIB
    assert answer.wishes["hungry"] >= targets(answer)["hungry"]


def test_what_a_host_process_takes_comes_back_from_idle_guests() -> None:
    idle = [guest(f"idle{n}", 8 * GIB, 6 * GIB, 9 * GIB // 2, caches=4 * GIB) for n in range(4)]
    answer = planned(32 * GIB, *idle, other=8 * GIB)
    assert answer.account.short
    freed = sum(6 * GIB - size for size in targets(answer).values())
    assert freed >= -answer.account.room
    assert all(isinstance(d, SetTarget) for d in answer.decisions)


def test_a_squeezed_guest_on_an_empty_host_is_given_all_in_one_step() -> None:
    answer = planned(32 * GIB, guest("squeezed", 8 * GIB, GIB, 20 * MIB))
    assert targets(answer) == answer.wishes == {"squeezed": 8 * GIB}


def test_an_idle_guest_is_given_back_what_the_host_has_had_all_along() -> None:
    """A daemon waits some seconds, to see whether the room lasts; a plan cannot."""
    answer = planned(32 * GIB, guest("idle", 8 * GIB, 2 * GIB, GIB))
    assert targets(answer) == {"idle": 8 * GIB}


def test_a_reading_of_some_age_is_ground_enough_where_a_daemon_would_have_asked_again() -> None:
    answer = planned(2 * GIB, guest("idle", 4 * GIB, 2 * GIB, GIB, age_s=0.9))
    assert answer.decisions[0].reason is Reason.TAKE_COLD_CACHE


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("fields", [{"available": None}, {"age_s": 60.0}, {"age_s": None}])
def test_without_a_reading_that_is_new_enough_nobody_shrinks(policy: str, fields: dict[str, Any]) -> None:
    mute = msgspec.structs.replace(guest("mute", 2 * GIB, 2 * GIB, GIB), **fields)
    answer = planned(2 * GIB, mute, other=GIB, policy=policy)
    assert targets(answer) == {"mute": 2 * GIB}


def test_who_may_not_be_moved_has_no_wish_and_says_why() -> None:
    kinds = {"running": Reason.STOPPED, "managed": Reason.UNMANAGED}
    for field, reason in kinds.items():
        still = msgspec.structs.replace(guest("still", 2 * GIB, 2 * GIB, GIB), **{field: False})
        answer = planned(2 * GIB, still)
        assert answer.wishes == {}
        assert [d.reason for d in answer.decisions] == [reason]


def test_a_booting_guest_has_a_boot_target() -> None:
    answer = planned(
        2 * GIB, guest("new", 2 * GIB, 2 * GIB, None, driver=False, up_s=1.0), guest("old", GIB, GIB, GIB)
    )
    assert answer.decisions[0].reason is Reason.BOOT
    assert targets(answer)["new"] < 2 * GIB


def test_in_an_overload_that_lasts_a_guest_that_opted_in_would_be_stopped() -> None:
    full = [
        guest(f"g{n}", 2 * GIB, 2 * GIB - 100 * MIB, 60 * MIB, pid=n + 1, may_suspend=True) for n in range(3)
    ]
    answer = planned(4 * GIB, *full, overload="suspend")
    stopped = [d for d in answer.decisions if isinstance(d, Suspend)]
    assert 1 <= len(stopped) < 3
    assert stopped[0].reason is Reason.OVERLOAD
    assert not any(isinstance(d, Suspend) for d in planned(4 * GIB, *full).decisions)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_wishes_keep_to_bounds_and_pages(policy: str) -> None:
    odd = guest("odd", 2 * GIB - 5, 2 * GIB - 5, GIB, floor=GIB + 7, ceiling=GIB + 9000)
    answer = planned(GIB, odd, other=GIB, policy=policy)
    for wish in answer.wishes.values():
        assert GIB + 7 <= wish <= GIB + 9000
        assert wish % PAGE == 0


def test_nothing_to_plan_is_a_plan() -> None:
    assert planned(GIB).decisions == ()
