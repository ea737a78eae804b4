"""What of the decisions goes into the log: large moves and changes of health, of each guest not too often."""

import logging

import msgspec
import pytest

from autoballoon.core.health import observe
from autoballoon.core.model import Decision, Guest, Reason, Resume, SetTarget, Stay, Suspend
from autoballoon.core.track import Health
from autoballoon.core.units import GIB
from autoballoon.daemon.chronicle import EVERY_S, LARGE, Chronicle
from autoballoon.views.status import Trouble

WEB = Guest("web", "web", GIB, GIB)


def move(by: int, name: str = "web") -> Decision:
    return SetTarget(name, name, Reason.TAKE_SURPLUS, {}, before=GIB, size=GIB - by)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> "Told":
    caplog.set_level(logging.DEBUG)
    return Told(caplog)


class Told:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog

    def at(self, level: int = logging.INFO) -> list[str]:
        """The lines at this level since the last call."""
        lines = [record.getMessage() for record in self.caplog.records if record.levelno == level]
        self.caplog.clear()
        return lines


def test_large_moves_are_told_and_small_ones_only_when_asked_for(told: Told) -> None:
    chronicle = Chronicle()
    chronicle.moves(
        (move(LARGE - 1), move(LARGE, "db"), Stay("x", "x", Reason.SETTLED, {}, size=5)), 0.0, dry_run=False
    )
    assert [line.partition(":")[0] for line in told.at()] == ["db"]
    chronicle.moves((move(LARGE - 1),), 1.0, dry_run=False)
    assert len(told.at(logging.DEBUG)) == 1


@pytest.mark.parametrize("kind", [Suspend, Resume])
def test_who_is_stopped_or_runs_again_is_told(told: Told, kind: type[Suspend | Resume]) -> None:
    Chronicle().moves((kind("web", "web", Reason.OVERLOAD, {}),), 0.0, dry_run=False)
    assert len(told.at()) == 1


def test_one_line_for_each_guest_in_ten_seconds(told: Told) -> None:
    chronicle = Chronicle()
    for tenth in range(1000):
        chronicle.moves((move(LARGE + tenth), move(LARGE, "db")), tenth / 10, dry_run=False)
    assert len(told.at()) == 2 * 100 / EVERY_S


def test_a_dry_run_says_so_first_and_tells_the_same_only_once(told: Told) -> None:
    chronicle = Chronicle()
    for second in range(100):
        chronicle.moves((move(LARGE + second),), float(second), dry_run=True)
    (line,) = told.at()
    assert line.startswith("DRY RUN: web: ")
    chronicle.moves((move(3 * LARGE),), 100.0, dry_run=True)
    assert len(told.at()) == 1


def test_changes_of_health_are_told_and_those_that_come_too_fast_when_they_last(told: Told) -> None:
    chronicle, track = Chronicle(), observe(None, WEB, 0.0)

    def seen(health: Health, now: float) -> list[str]:
        chronicle.healths((WEB,), {"web": msgspec.structs.replace(track, health=health)}, now)
        return told.at()

    assert seen(Health.OK, 0.0) == []
    assert seen(Health.SILENT, 1.0) == ["web: its statistics are old or missing, and it keeps what it holds"]
    assert seen(Health.OK, 2.0) == []
    assert seen(Health.SILENT, 3.0) == []
    assert seen(Health.OK, 11.5) == ["web: it can be moved"]
    assert seen(Health.OK, 30.0) == []


def test_who_is_unwell_when_it_is_met_is_told_and_who_has_gone_is_forgotten(told: Told) -> None:
    chronicle = Chronicle()
    track = msgspec.structs.replace(observe(None, WEB, 0.0), health=Health.NO_DRIVER)
    chronicle.healths((WEB,), {"web": track}, 0.0)
    chronicle.healths((), {}, 1.0)
    chronicle.healths((WEB,), {"web": track}, 2.0)
    assert len(told.at()) == 2


def test_every_health_has_its_words(told: Told) -> None:
    for health in Health:
        track = msgspec.structs.replace(observe(None, WEB, 0.0), health=health)
        Chronicle().healths((WEB,), {"web": track}, 0.0)
    assert len(told.at()) == len(Health) - 1


def test_a_line_carries_its_numbers_for_programs(told: Told) -> None:
    Chronicle().moves((move(LARGE),), 0.0, dry_run=False)
    (record,) = told.caplog.records
    about = vars(record)["about"]
    assert (about["guest"], about["kind"], about["from"], about["to"]) == (
        "web",
        "set-target",
        GIB,
        GIB - LARGE,
    )


def test_a_trouble_is_told_once_and_one_that_comes_and_goes_not_each_time(told: Told) -> None:
    chronicle, trouble = Chronicle(), Trouble("/run/vms/web.qmp", "closed the connection")
    for second in range(60):
        chronicle.troubles([trouble], float(second))
    assert told.at(logging.WARNING) == ["/run/vms/web.qmp: closed the connection"]
    for second in range(60, 160):
        chronicle.troubles([trouble] if second % 2 else [], float(second))
    assert len(told.at(logging.WARNING)) == 10
    chronicle.troubles([trouble, Trouble(trouble.where, "lasts")], 160.0)
    chronicle.troubles([Trouble(trouble.where, "lasts")], 175.0)
    assert told.at(logging.WARNING)[-1].endswith("lasts")
