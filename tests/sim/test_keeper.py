"""The daemon on virtual time keeps the daemon's own rules."""

from collections.abc import Sequence

import pytest

from autoballoon.core.engine import State
from autoballoon.core.model import Decision, SetTarget, Snapshot
from autoballoon.core.units import MIB
from autoballoon.daemon.pulse import LEAST_GAP_S
from autoballoon.daemon.watches import asks_at_once
from autoballoon.sim.world import World
from tests.sim.worlds import daemon, guest_of, scenario, world

BUSY = guest_of(
    count=8, max="1GiB", size="400MiB",
    need='{ shape = "sawtooth", low = "100MiB", high = "700MiB", every = "10s", rise = "2s", first = "5s" }',
    shift="1s", files="500MiB",
)  # fmt: skip


class Ticks:
    """When the daemon ticked, and with what result."""

    def __init__(self, one: World) -> None:
        self.at: list[float] = []
        self.moves: list[tuple[float, Decision]] = []
        daemon(one).told.append(self)

    def __call__(
        self, before: State, snapshot: Snapshot, after: State, decisions: Sequence[Decision], now: float
    ) -> None:
        self.at.append(now)
        self.moves += [(now, one) for one in decisions if isinstance(one, SetTarget)]


def test_a_quiet_world_has_one_tick_a_second() -> None:
    one = world(scenario(guest_of(need="100MiB"), duration="20s"), "ladder")
    ticks = Ticks(one)
    one.run()
    assert ticks.at == [float(n) for n in range(21)]


def test_early_ticks_keep_their_distance() -> None:
    one = world(scenario(BUSY, ram="5GiB"), "ladder")
    ticks = Ticks(one)
    one.run()
    gaps = [b - a for a, b in zip(ticks.at, ticks.at[1:], strict=False)]
    assert len(ticks.at) > 80
    assert min(gaps) >= 0.05 - 1e-6
    assert max(gaps) <= 1.0 + 1e-6
    # Only a regular tick may come right after an early one.
    assert all(
        gap >= LEAST_GAP_S - 1e-6 for gap, at in zip(gaps, ticks.at[1:], strict=False) if at % 1.0 > 1e-6
    )


def test_no_more_guests_are_asked_at_once_than_the_daemon_asks() -> None:
    one = world(scenario(BUSY, ram="5GiB"), "ladder")
    asked: list[int] = []
    before = 0

    def count(w: World) -> None:
        nonlocal before
        asked.append(daemon(w).asks - before)
        before = daemon(w).asks

    one.run([count])
    assert max(asked) == asks_at_once(1)


def test_targets_are_carried_out() -> None:
    one = world(scenario(BUSY, ram="4GiB"), "ladder")
    ticks = Ticks(one)
    one.run()
    assert ticks.moves
    last = {move.key: move.size for _, move in ticks.moves if isinstance(move, SetTarget)}
    assert last == {guest.name: guest.target for guest in one.guests if guest.name in last}


def test_a_host_that_falls_fast_brings_a_tick_before_the_next_regular_one() -> None:
    own = '[["10300ms", "0MiB"], ["11s", "1GiB"]]'
    one = world(scenario(guest_of(count=3, files="900MiB"), ram="4GiB", own=own), "ladder")
    ticks = Ticks(one)
    one.run()
    assert any(10.3 < at < 10.99 for at in ticks.at)


def test_after_a_crash_nothing_is_moved_until_it_is_started_again() -> None:
    happens = '[[happens]]\nwhat = "crash"\nat = "20s"\n[[happens]]\nwhat = "start"\nat = "40s"\n'
    one = world(scenario(BUSY, ram="4GiB", more=happens), "ladder")
    ticks = Ticks(one)
    one.run()
    assert not [at for at in ticks.at if 20.0 <= at < 40.0]
    assert [at for at in ticks.at if at > 40.0]


def test_leaving_hands_memory_back() -> None:
    leave = '[[happens]]\nwhat = "leave"\nat = "40s"\n'
    guests = guest_of(
        count=3, need='[["20s", "500MiB"], ["30s", "500MiB"], ["31s", "100MiB"]]', files="900MiB"
    )
    one = world(scenario(guests, ram="2300MiB", more=leave), "ladder")
    sizes: dict[float, int] = {}
    one.run([lambda w: sizes.update({w.now: sum(guest.target for guest in w.guests)})])
    assert sizes[40.05] > sizes[39.95]
    assert sizes[40.05] == sizes[60.0]


@pytest.mark.parametrize("ends", ["crash", "leave"])
def test_started_again_it_knows_what_its_state_file_keeps_and_no_rooms(ends: str) -> None:
    happens = (
        '[[happens]]\nwhat = "hold"\nguest = "g-1"\nat = "10s"\n'
        '[[happens]]\nwhat = "set-by-hand"\nguest = "g-2"\nsize = "300MiB"\nat = "12s"\n'
        '[[happens]]\nwhat = "room"\nsize = "100MiB"\ntimeout = "1min"\nat = "25s"\n'
        f'[[happens]]\nwhat = "{ends}"\nat = "30s"\n[[happens]]\nwhat = "start"\nat = "40s"\n'
    )
    guests = guest_of(count=3, need="150MiB", files="900MiB")
    one = world(scenario(guests, ram="2500MiB", more=happens), "ladder")
    known: dict[float, tuple[bool, int | None, int]] = {}

    def look(w: World) -> None:
        state = daemon(w).state
        promised = state.account.promised if state.account is not None else 0
        known[w.now] = (state.is_held("g-1"), state.tracks["g-2"].adopted if state.tracks else None, promised)

    one.run([look])
    assert known[29.0] == (True, 300 * MIB, 100 * MIB)
    assert known[41.0] == (True, 300 * MIB, 0)
