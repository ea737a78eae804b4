"""What the ladder learns of one guest, from readings made by hand."""

import pytest

from autoballoon.core.units import MIB
from autoballoon.policies import policy_named
from autoballoon.policies.habits import Memory
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
