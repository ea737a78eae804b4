"""What outlives a daemon: sizes that others set, what was learnt, holds; each belongs to one process or one key."""

import msgspec
import pytest

from autoballoon.core.engine import Engine, Rules, State
from autoballoon.core.kept import EVERYONE, Kept, KeptGuest
from autoballoon.core.model import Guest, Host, Snapshot
from autoballoon.core.units import GIB, MIB
from autoballoon.policies import policy_named

ENGINE = Engine(Rules(), policy_named("ladder"))
WEB = Guest("web", "web", GIB, GIB, pid=7, age_s=0.0, available=500 * MIB, driver=True, up_s=99.0)
KEPT = KeptGuest(pid=7, ceiling=600 * MIB, learnt=400 * MIB, learnt_at=50.0, asked=500 * MIB)


def after(state: State, *guests: Guest, now: float = 100.0) -> State:
    return ENGINE.step(state, Snapshot(Host(4 * GIB, 3 * GIB), guests), now)[0]


def test_nothing_was_kept_of_nobody() -> None:
    assert ENGINE.kept(ENGINE.start()) == Kept()
    assert ENGINE.kept(after(ENGINE.start(), WEB)) == Kept()


def test_what_was_kept_comes_back_with_the_guest() -> None:
    state = after(ENGINE.start(Kept({"web": KEPT})), WEB)
    track = state.tracks["web"]
    assert (track.adopted, track.learnt, track.learnt_at) == (600 * MIB, 400 * MIB, 50.0)
    assert ENGINE.kept(state) == Kept({"web": KEPT})
    assert state.unseen == {}


def test_another_process_at_its_key_is_another_guest() -> None:
    state = after(ENGINE.start(Kept({"web": KEPT})), msgspec.structs.replace(WEB, pid=8))
    assert state.tracks["web"].adopted is None
    assert ENGINE.kept(state) == Kept()


@pytest.mark.parametrize("pid", [7, None])
def test_it_outlives_that_the_guest_is_out_of_sight(pid: int | None) -> None:
    state = after(ENGINE.start(Kept({"web": KEPT})), WEB)
    for now in (101.0, 102.0):
        state = after(state, now=now)
        assert ENGINE.kept(state) == Kept({"web": KEPT})
    state = after(state, msgspec.structs.replace(WEB, pid=pid), now=103.0)
    assert state.tracks["web"].adopted == (600 * MIB if pid else None)
    assert ENGINE.kept(ENGINE.forget(after(state, now=104.0), {"web"})) == Kept()


@pytest.mark.parametrize("pid", [7, 8])
def test_it_waits_until_the_process_is_known(pid: int) -> None:
    state = ENGINE.start(Kept({"web": KEPT}))
    for now in (100.0, 101.0):
        state = after(state, msgspec.structs.replace(WEB, pid=None), now=now)
        assert state.tracks["web"].adopted is None
        assert ENGINE.kept(state) == Kept({"web": KEPT}), "the next daemon may know more"
    state = after(state, msgspec.structs.replace(WEB, pid=pid), now=102.0)
    assert ENGINE.kept(state) == Kept({"web": KEPT} if pid == 7 else {})
    assert state.unseen == {}


def test_what_was_seen_meanwhile_is_newer() -> None:
    state = after(ENGINE.start(Kept({"web": KEPT})), msgspec.structs.replace(WEB, pid=None))
    track = msgspec.structs.replace(
        state.tracks["web"], target=GIB, ours=True, adopted=700 * MIB, learnt=500 * MIB, learnt_at=100.0
    )
    state = msgspec.structs.replace(state, tracks={"web": track})
    track = ENGINE.observed(state, Snapshot(Host(4 * GIB, 3 * GIB), (WEB,)), 101.0)[0]["web"]
    assert (track.adopted, track.learnt, track.asked_before) == (700 * MIB, 500 * MIB, None)


def test_a_time_that_is_still_to_come_is_taken_for_now() -> None:
    state = after(ENGINE.start(Kept({"web": msgspec.structs.replace(KEPT, learnt_at=1e6)})), WEB)
    assert state.tracks["web"].learnt_at == 100.0


def test_a_hold_stays_until_it_is_let_go_whether_the_guest_is_there_or_not() -> None:
    state = ENGINE.hold(ENGINE.start(), "web")
    assert state.is_held("web")
    assert not state.is_held("db")
    state = after(after(state, WEB), now=101.0)
    assert ENGINE.start(ENGINE.kept(state)).is_held("web")
    assert ENGINE.kept(ENGINE.unhold(state, "web")) == Kept()


def test_letting_one_go_of_all_leaves_the_others_held() -> None:
    state = after(ENGINE.hold(ENGINE.start(), EVERYONE), WEB, msgspec.structs.replace(WEB, key="db"))
    assert state.is_held("web")
    assert state.is_held("whoever comes")
    state = ENGINE.unhold(state, "web")
    assert (state.is_held("web"), state.is_held("db")) == (False, True)
    assert ENGINE.unhold(state, EVERYONE).holds == frozenset()


@pytest.mark.parametrize("key", ["web", EVERYONE])
@pytest.mark.parametrize("seen", [True, False])
def test_letting_go_lifts_a_ceiling_that_others_set_and_forgets_nothing_learnt(key: str, seen: bool) -> None:
    state = ENGINE.start(Kept({"web": KEPT}))
    state = ENGINE.unhold(after(state, WEB) if seen else state, key)
    assert ENGINE.kept(state).guests == {"web": msgspec.structs.replace(KEPT, ceiling=None)}


def shrinking(asked_s: float) -> State:
    """It was asked to become 700 MiB large so long ago, and has given nothing since."""
    state = after(ENGINE.start(), WEB)
    track = msgspec.structs.replace(
        state.tracks["web"], target=700 * MIB, ours=True, reached=False, set_at=100.0 - asked_s, begun=GIB
    )
    return msgspec.structs.replace(state, tracks={"web": track})


@pytest.mark.parametrize(("size", "adopted"), [(900 * MIB, None), (700 * MIB, None), (600 * MIB, 600 * MIB)])
def test_a_shrink_that_a_killed_daemon_left_is_not_taken_for_somebodys_word(
    size: int, adopted: int | None
) -> None:
    state = ENGINE.start(ENGINE.kept(shrinking(2.0)))
    for now in range(200, 210):
        state = after(state, WEB, now=now)
    assert ENGINE.kept(state).guests["web"].asked == 700 * MIB, "another daemon may be killed too"
    for now in range(210, 215):
        state = after(state, msgspec.structs.replace(WEB, actual=size), now=now)
    assert state.tracks["web"].adopted == adopted


def test_a_shrink_that_takes_no_longer_than_others_is_not_kept() -> None:
    assert ENGINE.kept(shrinking(0.5)) == Kept()
