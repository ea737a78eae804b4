"""The status: its fields are a promise to programs; its table is for people."""

import json

import msgspec

from autoballoon.core.model import Guest, Host, Reason, SetTarget, Snapshot, Stay
from autoballoon.core.pool import Account
from autoballoon.core.track import Health, Track
from autoballoon.core.units import MIB
from autoballoon.views.paint import coloured
from autoballoon.views.status import DaemonStatus, Status, Tick, Trouble, books, decode, encode, table, tell

ACCOUNT = Account(
    capacity=2600 * MIB, available=500 * MIB, reserve=130 * MIB, other=70 * MIB, pool=2400 * MIB, charges=2450 * MIB,
    unsure=("web-2",),
)  # fmt: skip
DAEMON = DaemonStatus(
    version="0.1.0", pid=1, policy="ladder", dry_run=False, interval_s=1.0, up_s=5.0,
    tick=Tick(number=5, why="interval", late_s=0.001, took_s=0.002), account=books(ACCOUNT),
    problems=(Trouble("/run/b.qmp", "the guest has no balloon device"),),
)  # fmt: skip
WEB = Guest(
    "/run/a.qmp", "web-1", 512 * MIB, 300 * MIB, floor=128 * MIB, available=100 * MIB, caches=60 * MIB
)
MUTE = Guest("/run/b.qmp", "web-2", 512 * MIB, 512 * MIB)
STATUS = Status(
    daemon=DAEMON,
    snapshot=Snapshot(Host(2600 * MIB, 500 * MIB), (WEB, MUTE)),
    decisions=tell(
        [
            SetTarget(WEB.key, WEB.name, Reason.TAKE_COLD_CACHE, {"need": 200 * MIB}, before=360 * MIB, size=300 * MIB),
            Stay(MUTE.key, MUTE.name, Reason.NO_DRIVER, {}, size=512 * MIB),
        ],
        {
            WEB.key: Track(300 * MIB, 360 * MIB, 300 * MIB, Health.OK),
            MUTE.key: Track(512 * MIB, 512 * MIB, 512 * MIB, Health.NO_DRIVER, adopted=400 * MIB),
        },
    ),
)  # fmt: skip


def test_the_json_has_the_promised_shape() -> None:
    data = json.loads(encode(STATUS))
    assert list(data) == ["daemon", "snapshot", "decisions"]
    assert data["decisions"][0] == {
        "guest": "web-1",
        "kind": "set-target",
        "from": 360 * MIB,
        "to": 300 * MIB,
        "reason": "take-cold-cache",
        "numbers": {"need": 200 * MIB},
        "says": "web-1: 360 -> 300 MiB: took 60 MiB of cold cache (need 200 MiB)",
        "health": "ok",
        "target": 300 * MIB,
        "adopted": None,
    }
    assert (data["decisions"][1]["from"], data["decisions"][1]["to"]) == (512 * MIB, 512 * MIB)
    assert data["snapshot"]["guests"][1]["available"] is None
    assert data["daemon"]["account"]["room"] == -50 * MIB


def test_what_is_encoded_is_decoded_and_new_fields_do_not_hurt() -> None:
    assert decode(encode(STATUS)) == STATUS
    grown = json.loads(encode(STATUS))
    grown["daemon"]["colour"] = grown["colour"] = "blue"
    assert decode(msgspec.json.encode(grown)) == STATUS


def test_the_table_for_people() -> None:
    lines = table(STATUS).splitlines()
    assert "guarantee: not yet (web-2)" in lines[1]
    web = next(line for line in lines if line.startswith("web-1"))
    assert web.split("MiB")[:3] == ["web-1  300 ", "  200 ", "  60 "]
    assert web.endswith("360 -> 300 MiB: took 60 MiB of cold cache (need 200 MiB)")
    assert next(line for line in lines if line.startswith("web-2")).split()[3] == "?"
    assert lines[-1] == "/run/b.qmp: the guest has no balloon device"


def test_a_dry_run_says_so_first() -> None:
    dry = msgspec.structs.replace(STATUS, daemon=msgspec.structs.replace(DAEMON, dry_run=True))
    assert table(dry).startswith("DRY RUN: nothing is moved\n")


def test_what_was_asked_for_stands_beside_the_health() -> None:
    held = msgspec.structs.replace(MUTE, held=True)
    shown = msgspec.structs.replace(STATUS, snapshot=Snapshot(Host(2600 * MIB, 0), (WEB, held)))
    web, mute = table(shown).splitlines()[4:6]
    assert " ok  " in web
    assert " -  360 -> 300" in web
    assert " no-driver  held, 400 MiB by hand  stays" in mute


def test_colour_says_which_guest_to_look_at_and_lines_are_cut() -> None:
    lines = table(STATUS, coloured, width=60).splitlines()
    assert lines[1].startswith("\x1b[33mhost:")
    assert not lines[4].startswith("\x1b")
    assert len(lines[4]) == 60
    assert lines[4].endswith("…")
    assert lines[5].startswith("\x1b[33mweb-2")
    assert "\x1b" not in table(STATUS)


def test_room_for_guests_to_come_is_told() -> None:
    account = msgspec.structs.replace(DAEMON.account, promised=100 * MIB)
    daemon = msgspec.structs.replace(DAEMON, account=account)
    assert "guests to come 100 MiB" in table(msgspec.structs.replace(STATUS, daemon=daemon))


def test_a_host_without_guests() -> None:
    empty = msgspec.structs.replace(STATUS, snapshot=Snapshot(Host(2600 * MIB, 500 * MIB)), decisions=())
    assert "no guests" in table(empty)
