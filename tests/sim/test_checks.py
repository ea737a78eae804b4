"""Each check, in a world in which it holds and in one in which it does not."""

import pytest

from autoballoon.sim.run import simulate
from tests.sim.worlds import guest_of, scenario, world

FINE = guest_of(need="100MiB")
GROWS = guest_of(
    size="300MiB", deflates_itself=False, swap="2GiB", need='[["10s", "100MiB"], ["12s", "600MiB"]]'
)
FALLS = guest_of(
    size="300MiB", deflates_itself=False, swap="2GiB",
    need='[["10s", "100MiB"], ["12s", "600MiB"], ["30s", "600MiB"], ["31s", "100MiB"]]',
)  # fmt: skip
KILLS = guest_of(size="300MiB", deflates_itself=False, need='[["10s", "100MiB"], ["12s", "600MiB"]]')
FILLS = guest_of(count=3, need='[["10s", "100MiB"], ["20s", "900MiB"]]')
SQUEEZED = guest_of(size="200MiB", floor="10%", need="60MiB")


@pytest.mark.parametrize(
    ("must", "good", "bad", "says"),
    [
        ('check = "satisfied-within"\nseconds = "2s"', FINE, GROWS, "g starved for more than 2.1 s from 10."),
        ('check = "satisfied-within"\nseconds = "2s"\nafter = "50s"', FALLS, GROWS, "g starved"),
        (
            'check = "reaches-size-by"\nsize = "1GiB"\nafter = "5s"\nseconds = "1s"',
            FINE,
            SQUEEZED,
            "g has 200 MiB at",
        ),
        ('check = "reserve-back-within"\nafter = "20s"\nseconds = "5s"', FINE, FILLS, "a reserve of 102 MiB"),
        ('check = "no-guest-oom"', GROWS, KILLS, "g killed something"),
        ('check = "no-host-oom"', FINE, FILLS, "the host killed g-"),
        ('check = "host-swap-at-most"\nsize = "1MiB"', FINE, FILLS, "the host has swapped"),
        ('check = "no-guest-below-fair-share"', FINE, GROWS, "its fair share is"),
        ('check = "keeps-floor"', FINE, guest_of(size="200MiB"), "under its floor of 256 MiB"),
        ('check = "stays-within"\nleast = "300MiB"', FINE, SQUEEZED, "g has 200 MiB at"),
        ('check = "stays-within"\nmost = "500MiB"', SQUEEZED, FINE, "g has 1024 MiB at"),
        ('check = "loses-at-most"\nafter = "5s"\nseconds = "1s"', FINE, GROWS, "g lost "),
        (
            'check = "shrinks-at-most"\npart = 0.05\nseconds = "10s"\n[[happens]]\nwhat = "set-by-hand"\nat = "20s"\n'
            'guest = "g"\nsize = "980MiB"',
            FINE,
            guest_of(max="2GiB", size="1200MiB"),
            "g is to have 980 MiB, and had 1200 MiB",
        ),
        (
            'check = "shrinks-at-most"\npart = 0.5\nseconds = "10s"\nfirst = "30s"\n[[happens]]\nwhat = "set-by-hand"\n'
            'at = "20s"\nguest = "g"\nsize = "980MiB"',
            SQUEEZED,
            FINE,
            "at 20.0 s g is to have 980 MiB",
        ),
        ('check = "guarantee-holds"', FINE, guest_of(count=3), "guests may hold 3252 MiB"),
    ],
)  # fmt: skip
def test_it_holds_and_fails_where_it_should(must: str, good: str, bad: str | None, says: str) -> None:
    table = f"[[must]]\n{must}\n"
    for guests, fails in ((good, False), (bad, True)):
        if guests is None:
            continue
        one = world(scenario(guests, ram="2GiB", swap="300MiB", more=table))
        result = simulate("test", "static", one)
        assert bool(result.unmet) is fails
        if fails:
            assert says in result.unmet[0]


@pytest.mark.parametrize(("moves", "fails"), [(0, True), (50, False)])
def test_moves_are_counted_after_a_time(moves: int, fails: bool) -> None:
    table = f'[[must]]\ncheck = "moves-at-most"\nafter = "5s"\nmoves = {moves}\n'
    guests = guest_of(count=3, need='[["10s", "100MiB"], ["15s", "600MiB"]]', size="400MiB")
    result = simulate("test", "ladder", world(scenario(guests, ram="2GiB", more=table), "ladder"))
    assert bool(result.unmet) is fails
    assert result.moves > 3


@pytest.mark.parametrize("again", [True, False])
def test_who_is_stopped_at_the_end_is_seen(again: bool) -> None:
    happens = '[[happens]]\nwhat = "pause"\nat = "10s"\nguest = "g"\n'
    if again:
        happens += '[[happens]]\nwhat = "unpause"\nat = "20s"\nguest = "g"\n'
    one = world(scenario(FINE, more=happens + '[[must]]\ncheck = "all-run-at-end"\n'))
    result = simulate("test", "static", one)
    assert bool(result.unmet) is not again
    assert result.lost_s == pytest.approx(10.0 if again else 50.0, abs=0.2)


def test_a_check_that_never_had_anything_to_look_at_is_not_met() -> None:
    late = guest_of(name="late", starts="50s", boot="30s")
    table = '[[must]]\ncheck = "satisfied-within"\nguest = "late"\nseconds = "2s"\n'
    result = simulate("test", "static", world(scenario(FINE + late, more=table)))
    assert result.unmet == ("satisfied-within: there was never anything to look at",)
