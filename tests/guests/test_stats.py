"""What a guest reports is bounded, or dropped as a whole."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.units import GIB, MIB
from autoballoon.guests.stats import MISSING, SLACK, Nonsense, Reading, check

RAM = 512 * MIB

IDLE = {
    "last-update": 1795426241,
    "stats": {
        "stat-htlb-pgalloc": 0,
        "stat-swap-out": 0,
        "stat-available-memory": 462893056,
        "stat-htlb-pgfail": 0,
        "stat-free-memory": 463187968,
        "stat-minor-faults": 582,
        "stat-major-faults": 0,
        "stat-total-memory": 492847104,
        "stat-swap-in": 0,
        "stat-disk-caches": 2269184,
    },
}
"""As QEMU 7.2 gave it for an idle Linux 6.1 guest of 512 MiB: more is free than available."""


def changed(**stats: object) -> dict[str, Any]:
    words = {f"stat-{name.replace('_', '-')}": value for name, value in stats.items()}
    return {**IDLE, "stats": {**IDLE["stats"], **words}}  # type: ignore[dict-item]


def test_a_real_reading_passes_unchanged() -> None:
    assert check(IDLE, RAM) == Reading(
        last_update=1795426241,
        total=492847104,
        available=462893056,
        free=463187968,
        caches=2269184,
        swap_in=0,
        swap_out=0,
        major_faults=0,
        minor_faults=582,
    )


def test_missing_statistics_are_unknown_and_not_zero() -> None:
    reading = check(changed(available_memory=MISSING, swap_in=MISSING), RAM)
    assert reading.available is None and reading.swap_in is None and reading.total == 492847104


def test_a_newer_kernel_tells_of_stalls_and_kills_and_an_older_one_leaves_them_unknown() -> None:
    # As QEMU 10 shows what Linux 6.12 sends (hw/virtio/virtio-balloon.c, balloon_stat_names).
    newer = check(
        changed(
            oom_kills=2,
            alloc_stalls=31,
            async_scans=4096,
            direct_scans=0,
            async_reclaims=4096,
            direct_reclaims=0,
        ),
        RAM,
    )
    assert (newer.oom_kills, newer.alloc_stalls) == (2, 31)
    older = check(IDLE, RAM)
    assert older.oom_kills is None and older.alloc_stalls is None
    assert older.counts_from_before(newer) and not newer.counts_from_before(
        check(changed(alloc_stalls=32), RAM)
    ), "a counter that fell is another boot's"


@pytest.mark.parametrize("value", [-1, 2**64, 1.5, "many", True, None])
def test_stalls_and_kills_that_are_no_counts_are_nonsense(value: object) -> None:
    for name in ("oom_kills", "alloc_stalls"):
        with pytest.raises(Nonsense, match="not a number of 64 bits"):
            check(changed(**{name: value}), RAM)


def test_before_the_first_answer_nothing_is_known() -> None:
    never = {"last-update": 0, "stats": dict.fromkeys(IDLE["stats"], MISSING)}  # type: ignore[call-overload]
    assert check(never, RAM) == Reading(last_update=0)


def test_the_total_may_stay_near_the_maximum_whatever_the_balloon_holds() -> None:
    assert check(changed(total_memory=RAM), RAM).total == RAM
    assert check(changed(total_memory=RAM + SLACK), RAM).total == RAM + SLACK


def test_free_and_caches_are_cut_to_the_total() -> None:
    reading = check(changed(free_memory=GIB, disk_caches=GIB), RAM)
    assert reading.free == reading.caches == reading.total


@pytest.mark.parametrize(
    "lie",
    [
        changed(total_memory=RAM + SLACK + 1),
        changed(available_memory=492847105),
        changed(total_memory=MISSING, available_memory=RAM + 1),
        changed(swap_in=-1),
        changed(swap_in=MISSING + 1),
        changed(major_faults=1.0),
        changed(free_memory=False),
        changed(disk_caches=None),
        {**IDLE, "last-update": "now"},
        {"stats": IDLE["stats"]},
        {"last-update": 1, "stats": []},
        [],
        None,
    ],
)
def test_nonsense_is_refused_in_a_sentence(lie: object) -> None:
    with pytest.raises(Nonsense, match=r"^its? "):
        check(lie, RAM)


def test_a_fallen_counter_tells_of_a_reset() -> None:
    before, after = check(IDLE, RAM), check(changed(minor_faults=100), RAM)
    assert not after.counts_from_before(before)
    assert check(changed(minor_faults=MISSING), RAM).counts_from_before(before)
    assert before.counts_from_before(after)


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
words = st.dictionaries(st.sampled_from(sorted(IDLE["stats"])), json)  # type: ignore[call-overload]
replies = json | st.fixed_dictionaries({"stats": words, "last-update": json}) | words


@given(replies, st.integers(1, 2**50))
def test_whatever_is_reported_the_reading_is_within_its_bounds(reply: object, ram: int) -> None:
    try:
        reading = check(reply, ram)
    except Nonsense:
        return
    top = ram + SLACK
    total = reading.total
    for size in (total, reading.available, reading.free, reading.caches):
        assert size is None or 0 <= size <= (top if total is None else total) <= top
    for count in (reading.swap_in, reading.swap_out, reading.major_faults, reading.minor_faults):
        assert count is None or 0 <= count < MISSING
