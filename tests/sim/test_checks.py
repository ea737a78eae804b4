"""Each check, in a world in which it holds and in one in which it does not."""

import pytest

from autoballoon.core.errors import BadInput
from autoballoon.sim.checks_size import ShrinksAtMost, _Shrinks
from autoballoon.sim.course import Seconds
from autoballoon.sim.run import simulate
from autoballoon.sim.scenario import parse
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
KILLED_ONCE = guest_of(
    size="300MiB", deflates_itself=False,
    need='[["10s", "100MiB"], ["12s", "600MiB"], ["20s", "600MiB"], ["21s", "100MiB"]]',
)  # fmt: skip
FILLS = guest_of(count=3, need='[["10s", "100MiB"], ["20s", "900MiB"]]')
FILLS_LATE = guest_of(count=3, need='[["40s", "100MiB"], ["50s", "900MiB"]]')
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
        # 10^9 bytes are no whole pages: such a guest is never quite that large.
        ('check = "reaches-size-by"\nsize = "1GB"\nseconds = "1s"', guest_of(max="1GB"), SQUEEZED, "have had 954 MiB"),
        ('check = "reserve-back-within"\nafter = "20s"\nseconds = "5s"', FINE, FILLS, "a reserve of 102 MiB"),
        ('check = "no-guest-oom"', GROWS, KILLS, "g killed something"),
        ('check = "no-guest-oom"\nafter = "30s"', KILLED_ONCE, KILLS, "g killed something"),
        ('check = "no-host-oom"', FINE, FILLS, "the host killed g-"),
        ('check = "no-host-oom"\nafter = "35s"', FILLS, FILLS_LATE, "the host killed g-"),
        ('check = "host-swap-at-most"\nsize = "1MiB"', FINE, FILLS, "the host has swapped"),
        ('check = "no-guest-below-fair-share"', FINE, GROWS, "its fair share is"),
        ('check = "keeps-floor"', FINE, guest_of(size="200MiB"), "under its floor of 256 MiB"),
        # A floor above the ceiling, or above all RAM, is lowered, as by the daemon.
        (
            'check = "keeps-floor"',
            guest_of(size="512MiB", floor="600MiB", ceiling="512MiB"),
            guest_of(size="512MiB", floor="2GiB"),
            "under its floor of 1024 MiB",
        ),
        ('check = "stays-within"\nleast = "300MiB"', FINE, SQUEEZED, "g has 200 MiB at"),
        ('check = "stays-within"\nmost = "500MiB"', SQUEEZED, FINE, "g has 1024 MiB at"),
        ('check = "loses-at-most"\nafter = "5s"\nseconds = "1s"', FINE, GROWS, "g lost "),
        (
            'check = "loses-at-most"\nafter = "45s"\nseconds = "1s"',
            GROWS + 'ends = "40s"\n',
            GROWS,
            "g lost ",
        ),
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


@pytest.mark.parametrize(("seconds", "fails"), [(10, False), (30, True)])
def test_shrinks_are_added_up_over_the_time_that_is_said(seconds: int, fails: bool) -> None:
    """1024 MiB, 980 after 20 s, 940 after 40 s: each is within a twentieth, both are not."""
    happens = "".join(
        f'[[happens]]\nwhat = "set-by-hand"\nguest = "g"\nat = "{at}s"\nsize = "{size}MiB"\n'
        for at, size in ((20, 980), (40, 940))
    )
    table = f'[[must]]\ncheck = "shrinks-at-most"\npart = 0.05\nseconds = "{seconds}s"\n'
    result = simulate("test", "static", world(scenario(FINE, more=happens + table)))
    assert bool(result.unmet) is fails


def test_however_long_the_time_a_size_that_stays_is_remembered_once() -> None:
    one = world(scenario(FINE))
    watcher = _Shrinks(ShrinksAtMost(part=0.05, seconds=Seconds(50)))
    one.run([watcher.see])
    assert watcher.unmet is None
    assert len(watcher.seen["g"]) == 1


def test_a_name_that_looks_like_a_glob_names_its_guest_too() -> None:
    table = '[[must]]\ncheck = "{}"\nguest = "web[1]"\nseconds = "1s"\n'
    for check in ("satisfied-within", "loses-at-most"):
        one = world(scenario(guest_of(name="web[1]"), more=table.format(check)))
        assert simulate("test", "static", one).unmet == ()


def test_a_host_without_guests_can_be_checked() -> None:
    lines = 'says = "Nobody."\nduration = "5s"\nguests = []\nhost = { ram = "1GiB" }\n'
    checks = '[[must]]\ncheck = "no-host-oom"\n[[must]]\ncheck = "host-swap-at-most"\nsize = "0MiB"\n'
    assert simulate("test", "ladder", world(parse(lines + checks), "ladder")).unmet == ()
    with pytest.raises(BadInput, match=r"must\[0\].guest: no guest matches '\*'"):
        parse(lines + '[[must]]\ncheck = "no-guest-oom"\n')


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
