"""What the ladder learns of guests and of the host, from readings made by hand."""

from typing import Any

import pytest

from autoballoon.core.model import Guest
from autoballoon.core.units import MIB
from autoballoon.policies import policy_named
from autoballoon.policies.habits import Habit, Memory
from tests.policies.sights import Steps, guest

FILES = 200


def proven_after(seconds: int, caches: int, free: int) -> float:
    """MiB that a guest is still known to read when it has had these caches for so long, after it lacked its files."""
    steps, faults = Steps(policy_named("ladder"), capacity=4096 * MIB), 0
    for now in range(20 + seconds):
        lacks = now < 20  # then it reads 4 MiB a second of what it had to drop
        faults += 1024 * lacks
        there, loose = (FILES, 0) if lacks else (caches, free)
        g = guest(
            "g",
            512,
            available=(there + loose) * MIB,
            free=loose * MIB,
            caches=there * MIB,
            major_faults=faults,
            resident=512 * MIB,
        )
        steps.step(100.0 + now, 2048 * MIB, [g])
    memory = steps.state.memory
    assert isinstance(memory, Memory)
    return memory.habits["g"].proven / MIB


@pytest.mark.parametrize(
    ("caches", "free", "least", "most"),
    [
        (FILES, 0, 150, FILES),  # it holds them, and nothing is free: nobody can tell whether it reads them
        (FILES, 200, 150, FILES),  # nor where it has more memory than that
        (20, 0, 150, FILES),  # it does without, for want of memory
        (20, 200, 20, 60),  # it does without, though there is room
    ],
)
def test_cache_is_given_up_for_unread_only_where_a_guest_had_room_for_it_and_did_without(
    caches: int, free: int, least: int, most: int
) -> None:
    assert least <= proven_after(90, caches, free) <= most


def memory_of(steps: Steps) -> Memory:
    memory = steps.state.memory
    assert isinstance(memory, Memory)
    return memory


def joint_growth(*others: Guest, late: bool = False) -> float:
    """MiB a second that are known of the growth of guests and host together, when the host's own use grew by 100 of
    them beside a guest that stands still and these; `late`: they are met last."""
    steps = Steps(policy_named("ladder"), capacity=8192 * MIB)
    still = guest("still", 512, available=300 * MIB, resident=512 * MIB, up_s=100.0)
    for second in range(5):
        there = [still, *(others if second == 4 or not late else ())]
        held = sum(one.resident or 0 for one in there)
        own = (1000 + 100 * second) * MIB
        steps.step(100.0 + second, 8192 * MIB - held - own, there)
    return (memory_of(steps).joint or 0.0) / MIB


def other(**fields: Any) -> Guest:
    return guest("other", 512, available=300 * MIB, resident=512 * MIB, **{"up_s": 100.0} | fields)


@pytest.mark.parametrize(
    "fields",
    [{}, {"managed": False}, {"driver": False}, {"age_s": 60.0}, {"running": False}],
    ids=["movable", "unmanaged", "no-driver", "silent", "stopped"],
)
def test_the_hosts_own_growth_is_learnt_whoever_cannot_be_moved(fields: dict[str, Any]) -> None:
    assert joint_growth(other(**fields)) == pytest.approx(100, rel=0.01)


def test_the_growth_of_a_guest_that_is_left_alone_is_learnt_as_the_hosts_own() -> None:
    steps = Steps(policy_named("ladder"), capacity=8192 * MIB)
    still = guest("still", 512, available=300 * MIB, resident=512 * MIB, up_s=100.0)
    for second in range(5):
        held = (1000 + 100 * second) * MIB
        alone = guest("alone", 4096, available=300 * MIB, resident=held, up_s=100.0, managed=False)
        steps.step(100.0 + second, 8192 * MIB - 512 * MIB - held, [still, alone])
    assert (memory_of(steps).joint or 0.0) / MIB == pytest.approx(100, rel=0.01)


def test_a_guest_that_is_left_alone_and_has_no_driver_hides_nothing() -> None:
    assert joint_growth(other(managed=False, driver=False)) == pytest.approx(100, rel=0.01)
    assert joint_growth(other(running=False, driver=False)) == pytest.approx(100, rel=0.01)


def test_the_hosts_own_growth_cannot_be_told_from_that_of_guests_that_boot() -> None:
    assert joint_growth(other(driver=False, up_s=1.0)) == 0


def test_what_a_guest_holds_that_is_new_is_no_growth_of_the_hosts_own() -> None:
    # What was known before half of it came is a little older by then.
    assert joint_growth(other(), late=True) == pytest.approx(100 * 0.5 ** (1 / 120), rel=0.001)


LOST_S = 300


def habits_before_and_after(**fields: Any) -> tuple[Habit, Habit]:
    """What is known of a guest that grew, fell back and lacked its files; and 300 s later, when these were its fields
    in between."""
    steps = Steps(policy_named("ladder"), capacity=4096 * MIB)
    faults = 0
    now = 100.0

    def live(used: int, **more: Any) -> Habit:
        nonlocal faults, now
        now += 1.0
        faults += 0 if more else 1024
        here = {
            "up_s": now,
            "free": 0,
            "caches": (512 - used) * MIB,
            "major_faults": faults,
            "resident": 512 * MIB,
        }
        steps.step(now, 2048 * MIB, [guest("g", 512, available=(512 - used) * MIB, **here | more)])
        return memory_of(steps).habits["g"]

    for used in [100] * 10 + [200, 300] + [100] * 10:
        live(used)
    before = live(100)
    since = now
    while now < since + LOST_S:
        age = {} if "age_s" not in fields else {"age_s": now + 1.0 - since}
        live(100, **fields | age)
    return before, live(100, **({"up_s": 5.0} if "up_s" in fields else {}))


@pytest.mark.parametrize(
    "fields", [{"age_s": 0.0}, {"running": False, "age_s": 0.0}], ids=["silent", "stopped"]
)
def test_of_a_guest_that_was_silent_or_stood_still_nothing_is_forgotten(fields: dict[str, Any]) -> None:
    before, after = habits_before_and_after(**fields)
    assert before.peak > 50 * MIB
    assert after.peak > 0.95 * before.peak
    assert after.lately > 0.95 * before.lately > 250 * MIB
    assert after.proven > 0.95 * before.proven > 200 * MIB
    assert after.cold < 0.9 * 412 * MIB


def test_one_that_began_anew_meanwhile_is_another() -> None:
    _, after = habits_before_and_after(age_s=0.0, up_s=3.0)
    assert after.peak == 0
    assert after.lately == 100 * MIB
