"""What becomes of a guest that was told to stop."""

import msgspec
import pytest

from autoballoon.core.health import observe
from autoballoon.core.model import Guest, Reason, Resume, Suspend
from autoballoon.core.pause import SHOW_S, SPARE_S, follow, is_late, learnt, still_owed
from autoballoon.core.track import LAND_S, Pause, Track

STOP = Suspend("k", "g", Reason.OVERLOAD, {})
RUN = Resume("k", "g", Reason.TURN, {})


def guest(running: bool, pid: int | None = 7, age_s: float = 50.0) -> Guest:
    return Guest(
        key="k", name="g", max=1 << 29, actual=1 << 28, pid=pid, running=running, age_s=age_s, up_s=100.0
    )


def track(pause: Pause | None = None) -> Track:
    return msgspec.structs.replace(observe(None, guest(True), 0.0), pause=pause)


TOLD = Pause(pid=7, at=10.0, need=1 << 27)
SEEN = msgspec.structs.replace(TOLD, seen=True)
AGAIN = msgspec.structs.replace(SEEN, resumed_at=40.0)
UNSEEN_AGAIN = msgspec.structs.replace(TOLD, resumed_at=14.0)
UNSEEN_AGAIN_SEEN = msgspec.structs.replace(UNSEEN_AGAIN, seen=True)


@pytest.mark.parametrize(
    ("pause", "sight", "now", "left", "spared"),
    [
        (TOLD, guest(True), 11.0, TOLD, False),
        (TOLD, guest(True), 99.0, TOLD, False),  # the order may yet arrive: it is to be let run first
        (TOLD, guest(False), 11.0, SEEN, False),
        (SEEN, guest(False), 99.0, SEEN, False),
        (SEEN, guest(True), 20.0, None, True),  # somebody let it run
        (AGAIN, guest(False), 41.0, AGAIN, False),
        (AGAIN, guest(True), 41.0, None, False),
        (UNSEEN_AGAIN, guest(True, age_s=5.0), 16.0, UNSEEN_AGAIN, False),
        (UNSEEN_AGAIN, guest(True, age_s=0.5), 16.0, UNSEEN_AGAIN, False),  # libvirt may still have it wait
        (UNSEEN_AGAIN, guest(False, age_s=0.5), 16.0, UNSEEN_AGAIN_SEEN, False),
        (UNSEEN_AGAIN, guest(True, age_s=0.5), 10.4 + LAND_S, UNSEEN_AGAIN, False),
        (UNSEEN_AGAIN, guest(True, age_s=0.5), 10.6 + LAND_S, None, True),
        (SEEN, guest(False, pid=8), 20.0, None, False),
        (SEEN, guest(False, pid=None), 20.0, SEEN, False),
    ],
)
def test_what_is_seen_of_it(pause: Pause, sight: Guest, now: float, left: Pause | None, spared: bool) -> None:
    after = follow(track(pause), sight, now, None)
    assert after.pause == left
    assert after.spared_until == (now + SPARE_S if spared else -1e9)


@pytest.mark.parametrize(
    ("pause", "order", "done", "left"),
    [
        (TOLD, STOP, True, TOLD),
        (TOLD, STOP, None, TOLD),
        (TOLD, STOP, False, None),
        (SEEN, STOP, False, None),
        (UNSEEN_AGAIN, STOP, False, UNSEEN_AGAIN),
        (AGAIN, RUN, True, AGAIN),
        (AGAIN, RUN, None, AGAIN),
        (AGAIN, RUN, False, None),
        (UNSEEN_AGAIN, RUN, True, None),
        (UNSEEN_AGAIN, RUN, None, UNSEEN_AGAIN),
    ],
)
def test_what_is_told_of_it(
    pause: Pause, order: Suspend | Resume, done: bool | None, left: Pause | None
) -> None:
    assert learnt(track(pause), order, done, 50.0).pause == left
    assert learnt(track(), order, done, 50.0) == track()


def test_one_that_does_not_stop_is_late() -> None:
    assert not is_late(track(TOLD), guest(True), 10.0 + SHOW_S)
    assert is_late(track(TOLD), guest(True), 10.1 + SHOW_S)
    assert not is_late(track(SEEN), guest(False), 99.0)
    assert not is_late(track(), guest(True), 99.0)


@pytest.mark.parametrize(
    ("sight", "owed", "ours"),
    [
        (guest(False), 7, True),
        (guest(False), 8, False),
        (guest(False), None, False),
        (guest(True), 7, False),
        (guest(False, pid=None), 7, False),
    ],
)
def test_what_an_earlier_daemon_left_is_ours_when_the_process_is_the_same(
    sight: Guest, owed: int | None, ours: bool
) -> None:
    pause = follow(track(), sight, 5.0, owed).pause
    assert (pause is not None and pause.is_orphan and pause.seen) == ours


def test_who_is_out_of_sight_is_owed_until_it_is_seen_with_its_process() -> None:
    assert still_owed({"k": 7}, {}, []) == {"k": 7}
    assert still_owed({"k": 7}, {}, [guest(False, pid=None)]) == {"k": 7}
    assert still_owed({"k": 7}, {}, [guest(False)]) == {}
    assert still_owed({}, {"k": track(SEEN)}, []) == {"k": 7}
    assert still_owed({}, {"k": track()}, []) == {}
