"""Scenario files: those that come with autoballoon, and what is refused."""

from pathlib import Path
from random import Random
from typing import get_args

import pytest

from autoballoon.core.errors import BadInput
from autoballoon.core.units import GIB, MIB
from autoballoon.daemon.tables import LONGEST_CONFIG
from autoballoon.sim.characters import Character
from autoballoon.sim.checks import Must
from autoballoon.sim.scenario import FOLDER, LONGEST_FILE, load, names, parse

GOOD = """
says = "A test."
duration = "10s"
[host]
ram = "4GiB"
[[guests]]
name = "g"
count = 2
max = "1GiB"
need = "100MiB"
[[must]]
check = "no-guest-oom"
guest = "g-*"
"""


def test_there_are_many_and_each_says_what_it_is_and_what_must_hold() -> None:
    assert len(names()) >= 20
    for name in names():
        one = load(name)
        assert one.says.endswith(".")
        assert one.must, name


def test_every_character_and_every_check_is_used() -> None:
    loaded = [load(name) for name in names()]
    characters = {type(group) for one in loaded for group in one.guests}
    assert characters == set(get_args(Character))
    assert {type(must) for one in loaded for must in one.must} == set(get_args(Must))


def test_a_file_is_read_and_shorter_ways_of_writing_are_understood() -> None:
    one = parse(GOOD)
    (group,) = one.guests
    assert group.names() == ["g-1", "g-2"]
    assert group.max == GIB
    assert group.course(0, 10.0, Random(1)).at(5.0) == 100 * MIB
    assert one.step == 0.05
    points = parse(GOOD.replace('"100MiB"', '[["1s", "100MiB"], ["3s", "300MiB"]]')).guests[0]
    assert points.course(1, 10.0, Random(1)).at(2.0) == 200 * MIB


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"10s"', "10", "duration: "),
        ('"10s"', '"0s"', "duration: must lie between"),
        ('"10s"', '"10s"\nstep = "5s"', "step: must lie"),
        ('"10s"', '"20h"\nstep = "10ms"', "step: so many guests"),
        ('"4GiB"', '"4GiB"\nspeed = 1', "host: Object contains unknown field `speed`"),
        ('"4GiB"', '"4GiB"\noverload = "panic"', "host.overload: "),
        ('"4GiB"', '"4GiB"\nreserve = "5x"', "host.reserve: "),
        ('"1GiB"', '"1GiB"\ncolour = 2', "guests[0]: Object contains unknown field `colour`"),
        ('"1GiB"', '"1MiB"', "guests[0].max: must be at least"),
        (
            '"1GiB"',
            '"1GiB"\ncharacter = "mad"',
            "guests[0].character: Invalid value 'mad'; those known are honest, ",
        ),
        ('"1GiB"', '"1GiB"\nfloor = 0.25', "guests[0].floor: 0.25 has no unit; write it like '5%'"),
        ('"4GiB"', '"4GiB"\nreserve = 0.05', "host.reserve: 0.05 has no unit"),
        ('"4GiB"', '"4GiB"\nown = 500', "host.own.size: 500 has no unit; write it like '2GiB'"),
        (
            '"1GiB"',
            '"1GiB"\nsize = "512MiB"\nstarts = "1s"',
            "guests[0].size: means nothing for one that `starts`",
        ),
        ('"1GiB"', '"1GiB"\njitter = nan', "guests[0].jitter: "),
        ('"1GiB"', '"1GiB"\nfloor = "101%"', "guests[0].floor: "),
        ('"1GiB"', '"1GiB"\nstagger = "1s"', "guests[0].stagger: goes with `starts`"),
        ('"1GiB"', '"1GiB"\npass = "0s"', "guests[0].pass: "),
        ('"1GiB"', '"1GiB"\nwarm = "1MiB"', "guests[0].warm: "),
        ('"100MiB"', '"100"', "guests[0].need.size: "),
        ('"100MiB"', "500", "guests[0].need.size: 500 has no unit; write it like '2GiB'"),
        (
            '"100MiB"',
            '{ shape = "cube" }',
            "guests[0].need.shape: Invalid value 'cube'; those known are steady, ",
        ),
        ('"100MiB"', "[]", "guests[0].need.points: must not be empty"),
        ('"100MiB"', '[["2s", "1MiB"], ["1s", "1MiB"]]', "guests[0].need.points: must be in order"),
        (
            '"100MiB"',
            '{ shape = "walk", low = "1MiB", high = "2MiB", every = "0s", step = "1MiB" }',
            "guests[0].need: repeats too often",
        ),
        ("count = 2", "count = 0", "guests[0].count: "),
        ('"g-*"', '"h"', "must[0].guest: no guest matches 'h'"),
        (
            "no-guest-oom",
            "no-harm",
            "must[0].check: Invalid value 'no-harm'; those known are satisfied-within, ",
        ),
        ('"no-guest-oom"', '"no-guest-oom"\nafter = "10s"', "must[0].after: lies beyond the duration"),
        (
            '"no-guest-oom"',
            '"satisfied-within"\nafter = "5s"\nseconds = "5s"',
            "must[0].seconds: lies beyond",
        ),
        ('"no-guest-oom"', '"moves-at-most"\nmoves = -1', "must[0].moves: must not be negative"),
        ('"no-guest-oom"', '"stays-within"\nleast = "2MiB"\nmost = "1MiB"', "must[0].least: is above"),
        (
            '"no-guest-oom"',
            '"shrinks-at-most"\npart = 0.1\nseconds = "0s"',
            "must[0].seconds: must be above 0",
        ),
        ('"no-guest-oom"', '"shrinks-at-most"\npart = 1.0\nseconds = "1s"', "must[0].part: must lie between"),
        ('"no-guest-oom"', '"shrinks-at-most"\npart = nan\nseconds = "1s"', "must[0].part: must lie between"),
        ("[[must]]", '[switches]\nseat-belt = "x"\n[[must]]', "switches: there is no safeguard 'seat-belt'"),
        ("[[must]]", '[[happens]]\nwhat = "crash"\nat = "11s"\n[[must]]', "happens[0].at: lies beyond"),
        ("[[must]]", '[[happens]]\nwhat = "reset"\nat = "1s"\nguest = "x"\n[[must]]', "happens[0].guest: "),
        (
            "[[must]]",
            '[[happens]]\nwhat = "rain"\n[[must]]',
            "happens[0].what: Invalid value 'rain'; those known are set",
        ),
        ("[host]", "[hosts]", "Object contains unknown field `hosts`"),
        ("[host]", "[host", "is not TOML"),
        ("[host]", f"[host]\nram = {'1' * 5000}", "holds a number of thousands of digits"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(BadInput) as error:
        parse(GOOD.replace(old, new))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_used_twice_is_refused() -> None:
    again = '[[guests]]\nname = "g-2"\nmax = "1GiB"\nneed = "1MiB"\n'
    with pytest.raises(BadInput, match=r"guests\[1\].name: 'g-2' is taken"):
        parse(GOOD.replace("[[must]]", again + "[[must]]"))


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no scenario 'wav'"):
        load("wav")
    with pytest.raises(BadInput, match="cannot be read"):
        load(str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="not UTF-8"):
        load(str(broken))
    broken.write_bytes(b"x" * (LONGEST_FILE + 1))
    with pytest.raises(BadInput, match="larger than 16 MiB"):
        load(str(broken))
    broken.write_text(GOOD.replace('"10s"', '"x"'))
    with pytest.raises(BadInput, match=r"broken.toml: duration"):
        load(str(broken))


def test_a_trace_may_be_longer_than_a_configuration(tmp_path: Path) -> None:
    trace = tmp_path / "trace.toml"
    points = ", ".join(f'["{n}ms", "{n % 500}MiB"]' for n in range(60_000))
    trace.write_text(GOOD.replace('"10s"', '"60s"').replace('"100MiB"', f"[{points}]"))
    assert trace.stat().st_size > LONGEST_CONFIG
    assert load(str(trace)).guests[0].course(0, 60.0, Random(1)).at(40.123) == 123 * MIB


@pytest.mark.parametrize(
    ("what", "at", "is_there"),
    [("reset", 2, False), ("pause", 3, True), ("unpause", 4, True), ("reset", 5, False), ("hold", 1, True)],
)
def test_what_befalls_a_guest_that_is_not_there_is_refused(what: str, at: int, is_there: bool) -> None:
    happens = f'[[happens]]\nwhat = "{what}"\nat = "{at}s"\nguest = "g-2"\n[[must]]'
    text = GOOD.replace('"1GiB"', '"1GiB"\nstarts = "2s"\nstagger = "1s"\nends = "5s"').replace(
        "[[must]]", happens
    )
    if is_there:
        parse(text)
        return
    with pytest.raises(BadInput, match=r"happens\[0\].at: 'g-2' is not there then"):
        parse(text)


def test_scenarios_are_files_of_the_package() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.toml" for name in names()}
