"""What may be believed of an agent's lines."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.model import Guest
from autoballoon.core.units import GIB, MIB
from autoballoon.guests.agent_line import LONGEST, Allowance, Heard, Lines, Word, read

GUEST = Guest(key="/run/web.qmp", name="web", max=512 * MIB, actual=300 * MIB)


def word(seq: int = 1, why: str = "tick", **fields: object) -> Word:
    taken = read(msgspec.json.encode({"v": 1, "seq": seq, "why": why, **fields}))
    assert taken is not None
    return taken


def test_unknown_fields_are_ignored_and_missing_ones_unknown() -> None:
    taken = read(b'{"v":1,"seq":7,"why":"tick","refaults":5,"swap_used":null,"colour":{"a":[1]}}')
    assert taken == Word(v=1, seq=7, why="tick", refaults=5)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b'{"v":2,"seq":1,"why":"tick"}',
        b'{"v":1,"seq":0,"why":"tick"}',
        b'{"v":1,"seq":true,"why":"tick"}',
        b'{"v":1,"seq":1,"why":"hunger"}',
        b'{"v":1,"seq":1,"why":"tick","refaults":-1}',
        b'{"v":1,"seq":1,"why":"tick","refaults":1.5}',
        b'{"v":1,"seq":1,"why":"tick","refaults":"1"}',
        b'{"v":1,"seq":1,"why":"tick","oom_kills":99999999999999999999999}',
        b'{"v":1,"seq":1,"why":"tick","psi_some_s":1e300}',
        b'{"v":1,"seq":1,"why":"tick","psi_some_s":NaN}',
        b'{"v":1,"seq":1,"why":"tick","psi_some_s":-0.1}',
        b'{"v":1,"seq":1,"why":"tick","swap_total":1,"swap_used":2}',
        b'{"v":1,"seq":1,"why":"tick","x":' + b"[" * 4000,
        b'{"v":1,"seq":1,"why":"\xff\xfe"}',
    ],
)
def test_what_no_agent_says_is_dropped(line: bytes) -> None:
    assert read(line) is None


@given(st.binary(max_size=400))
def test_no_bytes_are_more_than_dropped(line: bytes) -> None:
    read(line)


def test_sizes_beyond_what_qemu_says_are_lies() -> None:
    assert word(total=512 * MIB, available=300 * MIB).suits(512 * MIB)
    assert word(total=530 * MIB).suits(512 * MIB), "memory just plugged"
    assert not word(total=GIB).suits(512 * MIB)
    assert not word(total=100 * MIB, available=101 * MIB).suits(512 * MIB)
    assert not word(available=GIB).suits(512 * MIB)


@given(st.lists(st.one_of(st.binary(max_size=50), st.just(b"\n"), st.just(b"x" * 3000)), max_size=30))
def test_lines_come_out_as_they_went_in_however_they_are_cut(parts: list[bytes]) -> None:
    lines, whole = Lines(), b"".join(parts)
    found = [line for part in parts for line in lines.feed(part)]
    wanted = whole.split(b"\n")[:-1]
    assert found == [line for line in wanted if len(line) <= LONGEST]
    assert lines.dropped == sum(len(line) > LONGEST for line in wanted)
    assert len(lines._begun) <= LONGEST


def test_an_endless_line_takes_no_memory() -> None:
    lines = Lines()
    for _ in range(160):
        assert lines.feed(b"x" * 65536) == []
        assert len(lines._begun) <= LONGEST
    assert lines.feed(b"\nnext\n") == [b"next"]
    assert lines.dropped == 1


@given(st.lists(st.floats(min_value=0, max_value=0.3), max_size=200))
def test_no_more_lines_are_taken_than_allowed(gaps: list[float]) -> None:
    now, allowance, taken = 50.0, Allowance(50.0), 0
    for gap in gaps:
        now += gap
        taken += allowance.take(now)
    assert taken <= 10 + (now - 50.0) * 10 + 1e-6
    assert allowance.take(now + 1.0)


def test_lines_out_of_their_turn_are_dropped_and_an_agent_may_begin_anew() -> None:
    heard = Heard()
    assert heard.take(word(5, oom_kills=1), 0.0)
    assert not heard.take(word(5, oom_kills=9), 1.0)
    assert not heard.take(word(4, oom_kills=9), 1.0)
    assert heard.take(word(9, oom_kills=2), 2.0), "lines may be lost on the way"
    assert heard.take(word(1, oom_kills=0), 3.0)
    assert heard.word is not None and heard.word.oom_kills == 0


def test_what_it_says_is_in_the_schema_and_sizes_stay_the_statistics() -> None:
    heard = Heard()
    heard.take(
        word(1, total=512 * MIB, available=5 * MIB, swap_total=64 * MIB, swap_used=MIB, oom_kills=3), 0.0
    )
    filled = heard.fill(msgspec.structs.replace(GUEST, total=500 * MIB, available=80 * MIB, age_s=0.5), 0.1)
    assert (filled.swap_total, filled.swap_used, filled.oom_kills) == (64 * MIB, MIB, 3)
    assert (filled.total, filled.available, filled.age_s) == (500 * MIB, 80 * MIB, 0.5)
    assert (filled.refaults, filled.psi_some_s) == (None, None)


def test_counters_rise_evenly_between_two_lines() -> None:
    heard = Heard()
    heard.take(word(1, refaults=100, psi_some_s=1.0, alloc_stalls=0), 10.0)
    heard.take(word(2, refaults=200, psi_some_s=2.0, alloc_stalls=4), 11.0)
    seen = [heard.fill(GUEST, at) for at in (11.0, 11.25, 11.5, 12.0, 13.0)]
    assert [one.refaults for one in seen] == [100, 125, 150, 200, 200]
    assert [one.psi_some_s for one in seen] == [1.0, 1.25, 1.5, 2.0, 2.0]
    assert [one.alloc_stalls for one in seen] == [0, 1, 2, 4, 4]


def test_what_an_agent_does_not_tell_stays_as_the_statistics_have_it() -> None:
    heard = Heard()
    heard.take(word(1), 10.0)
    filled = heard.fill(msgspec.structs.replace(GUEST, alloc_stalls=7, oom_kills=1), 10.0)
    assert (filled.alloc_stalls, filled.oom_kills) == (7, 1)


def test_pressure_is_news_at_once() -> None:
    heard = Heard()
    heard.take(word(1, psi_some_s=1.0), 10.0)
    heard.take(word(2, "pressure", psi_some_s=1.4), 11.0)
    assert heard.fill(GUEST, 11.0).psi_some_s == 1.4


def test_a_counter_that_fell_began_anew() -> None:
    heard = Heard()
    heard.take(word(1, refaults=1000), 10.0)
    heard.take(word(2, refaults=3), 11.0)
    assert heard.fill(GUEST, 11.1).refaults == 3
