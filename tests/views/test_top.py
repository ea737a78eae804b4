"""What `top` draws: DRY RUN first, short sizes, one scale for all sparklines."""

import msgspec

from autoballoon.core.model import Guest
from autoballoon.core.units import GIB, MIB
from autoballoon.views.status import Told, Trouble
from autoballoon.views.top import TITLES, Point, cells, head, point, short, sparks
from tests.views.test_status import DAEMON, STATUS, WEB


def test_the_head_says_dry_run_first_and_a_problem_last() -> None:
    lines = head(STATUS)
    assert lines[0].startswith("host 2600 MiB, 500 MiB available, pool 2400 MiB, of it -50 MiB free")
    assert lines[-1] == "/run/b.qmp: the guest has no balloon device"
    problems = (*DAEMON.problems, Trouble("host", "is on fire"))
    dry = msgspec.structs.replace(DAEMON, dry_run=True, problems=problems)
    lines = head(msgspec.structs.replace(STATUS, daemon=dry))
    assert lines[0] == "DRY RUN: nothing is moved"
    assert lines[-1].endswith("(and 1 more)")


def test_a_guests_cells() -> None:
    told = STATUS.decisions[0]
    assert dict(zip(TITLES, cells(WEB, told), strict=True)) == {
        "GUEST": "web-1", "SIZE": "300M", "USED": "200M", "CACHE": "60M", "BALLOON": "212M", "FLOOR": "128M",
        "CEILING": "512M", "HEALTH": "ok", "KEPT": "-", "LAST": "take-cold-cache",
    }  # fmt: skip
    assert cells(WEB, None)[7] == "?"
    assert short(12 * GIB + GIB // 2) == "12.5G"


def test_sparklines_share_one_scale_and_leave_gaps_for_what_is_unknown() -> None:
    points = [Point(512 * MIB, 256 * MIB, None), Point(0, 64 * MIB, 100 * MIB)]
    assert sparks(points, 512 * MIB, 80) == ["target █▁ 0M", "actual ▅▂ 64M", "need    ▂ 100M"]
    assert len(sparks(points * 200, 512 * MIB, 80)[0]) < 80
    assert sparks([], 0, 80) == ["target  ?", "actual  ?", "need    ?"]


def test_a_point_takes_need_from_the_decision_and_else_from_the_guest() -> None:
    told = Told("web-1", "stay", 1, 1, "settled", {"need": 5.0}, "", target=7)
    assert point(WEB, told) == Point(7, 300 * MIB, 5)
    assert point(WEB, None) == Point(300 * MIB, 300 * MIB, 200 * MIB)
    assert point(Guest("k", "n", GIB, GIB), None) == Point(GIB, GIB, None)
