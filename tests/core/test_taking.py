"""Taking: from whom what is missing comes."""

import pytest

from autoballoon.core.case import Case
from autoballoon.core.health import observe
from autoballoon.core.model import Guest, Reason
from autoballoon.core.policy import Wish
from autoballoon.core.taking import Shortage, takes
from autoballoon.core.units import MIB

NOW = 100.0


def case(key: str, size: int, *, at_once: bool = False, free: int = 600) -> Case:
    """A guest of 1 GiB with a fresh reading that is wished `size` MiB; `free` MiB hold nothing at all."""
    guest = Guest(
        key=key, name=key, max=1024 * MIB, actual=1024 * MIB, pid=1, driver=True, age_s=0.0, available=700 * MIB,
        free=free * MIB, caches=(700 - free) * MIB,
    )  # fmt: skip
    wish = Wish(
        size * MIB, Reason.TAKE_SURPLUS, need=324 * MIB, urgent=400 * MIB, used=400 * MIB, at_once=at_once
    )
    return Case(guest, observe(None, guest, NOW), wish, size * MIB)


@pytest.mark.parametrize("missing", [300 * MIB, None])
def test_what_is_taken_at_once_is_not_taken_from_others_too(missing: int | None) -> None:
    """One is squeezed before it is stopped: what it gives counts, whether the host is short or its cushion is."""
    short = Shortage(32 * MIB, 300 * MIB, missing, 300 * MIB)
    alone = {take.case.guest.key: take for take in takes([case("idle", 600)], short, NOW, 0)}
    assert alone["idle"].bar is None
    assert alone["idle"].size <= 724 * MIB
    both = takes([case("idle", 600), case("leaves", 700, at_once=True)], short, NOW, 0)
    taken = {take.case.guest.key: take for take in both}
    assert taken["leaves"].size == 700 * MIB
    assert taken["leaves"].bar is None
    assert taken["idle"].bar is not None or taken["idle"].size >= (1024 - 52) * MIB


@pytest.mark.parametrize(("starving", "gives"), [(0, False), (10 * MIB, True)])
def test_many_small_gifts_are_taken_when_a_need_cannot_be_met_without_them(
    starving: int, gives: bool
) -> None:
    """Each has less to give than a move is worth, and together they have what another starves for."""
    short = Shortage(8 * MIB, 40 * MIB, 40 * MIB, 40 * MIB, starving)
    given = list(takes([case(f"g{i}", 1018) for i in range(7)], short, NOW, 0))
    assert all((take.bar is None) == gives for take in given)
    large = list(takes([case("small", 1018), case("large", 900)], short, NOW, 0))
    assert {take.case.guest.key: take.bar for take in large} == {"small": Reason.SMALL, "large": None}
