"""The plan: its fields are a promise to programs; its table is for people."""

import json

from autoballoon.core.engine import Engine, Rules
from autoballoon.core.model import Guest, Host, Snapshot
from autoballoon.core.planning import plan
from autoballoon.core.units import GIB, MIB
from autoballoon.policies import policy_named
from autoballoon.views.plan import encode, table

HUNGRY = Guest("k1", "hungry", 2 * GIB, GIB, available=10 * MIB, age_s=0.0, resident=GIB)
MUTE = Guest("k2", "mute", GIB, GIB, resident=GIB)
SNAPSHOT = Snapshot(Host(8 * GIB, 6 * GIB), (MUTE, HUNGRY))
PLAN = plan(Engine(Rules(), policy_named("ladder")), SNAPSHOT)


def test_the_json_has_the_promised_shape() -> None:
    data = json.loads(encode(PLAN, SNAPSHOT))
    assert list(data) == ["targets", "wishes", "reasons"]
    assert data["targets"] == {"mute": GIB, "hungry": 2 * GIB}
    assert data["wishes"] == {"hungry": 2 * GIB}
    assert data["reasons"]["hungry"].startswith("hungry: 1024 -> 2048 MiB: it runs short")


def test_the_table_for_people() -> None:
    lines = table(PLAN, SNAPSHOT, "ladder").splitlines()
    assert lines[0] == "one step of policy ladder"
    assert lines[1].startswith("host: 8192 MiB, 6144 MiB available, reserve 410 MiB")
    assert lines[3].split() == ["GUEST", "SIZE", "NOW", "WISH", "TARGET", "WHY"]
    assert lines[4].split("MiB")[:3] == ["hungry  1024 ", "  2048 ", "  2048 "]
    assert lines[5].split()[:6] == ["mute", "1024", "MiB", "-", "1024", "MiB"]
    assert not any("hungry: " in line for line in lines)


def test_a_host_without_guests() -> None:
    empty = Snapshot(Host(8 * GIB, 6 * GIB))
    assert table(plan(Engine(Rules(), policy_named("ladder")), empty), empty, "ladder").endswith(
        "no guests\n"
    )
