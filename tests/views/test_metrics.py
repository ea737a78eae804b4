"""What /metrics shows: every metric of the reference, bounded labels, nothing for what is unknown."""

import json
import re
from pathlib import Path
from typing import Any

from autoballoon.core.model import Guest, Host, Reason, Snapshot
from autoballoon.core.pool import Account
from autoballoon.core.track import Health, Track
from autoballoon.core.units import GIB, MIB
from autoballoon.views.metrics import LATE_S, METRICS, Counts, Metric, Scene, lateness
from autoballoon.views.status import DaemonStatus, Tick, books

ROOT = Path(__file__).resolve().parents[2]


def scene(*guests: Guest, **counts: Any) -> Scene:
    account = Account(capacity=GIB, available=MIB, reserve=0, other=0, pool=GIB, charges=0)
    daemon = DaemonStatus(
        "0.1", 9, "ladder", True, 1.0, 10.0, Tick(1, "interval", 0.0, 0.002), books(account)
    )
    tracks = {guest.key: Track(300 * MIB, 300 * MIB, guest.actual, Health.OK) for guest in guests}
    return Scene(1e9, daemon, Snapshot(Host(GIB, MIB), guests), tracks, Counts(**counts))


def of(name: str, given: Scene) -> dict[tuple[str, ...], Any]:
    return dict(named(name).read(given))


def named(name: str) -> Metric:
    (metric,) = [metric for metric in METRICS if metric.name == f"autoballoon_{name}"]
    return metric


def test_the_reference_lists_every_metric_with_its_kind_labels_and_help() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text()
    rows = re.findall(r"^\| `(autoballoon_\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$", page, re.MULTILINE)
    labels = {metric.name: ", ".join(f"`{label}`" for label in metric.labels) for metric in METRICS}
    assert rows == [(one.name, one.kind, labels[one.name] or "", one.says) for one in METRICS]


def test_names_tell_the_unit_and_counters_end_in_total() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"autoballoon_[a-z_]+", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert metric.says.endswith(".")


def test_a_guest_is_shown_by_its_name() -> None:
    guest = Guest("/run/a.qmp", "a", GIB, 400 * MIB, available=100 * MIB, resident=5)
    assert of("guest_target_bytes", scene(guest)) == {("a",): 300 * MIB}
    assert of("guest_used_bytes", scene(guest)) == {("a",): 300 * MIB}
    assert of("guest_health", scene(guest)) == {("a", "ok"): 1}
    assert of("guest_need_bytes", scene(guest)) == {("a",): None}
    assert of("guest_actual_bytes", scene()) == {}


def test_decisions_are_shown_by_kind_and_reason() -> None:
    given = scene(decisions={("set-target", Reason.NEED.value): 3}, given=7, taken=9)
    assert of("decisions_total", given) == {("set-target", "need"): 3}
    assert of("moved_bytes_total", given) == {("given",): 7, ("taken",): 9}


def test_the_histogram_is_cumulative() -> None:
    late = tuple(range(1, len(LATE_S) + 2))
    buckets, total_s = lateness(Counts(late=late, late_s=2.5))
    assert [bound for bound, _ in buckets][-2:] == ["5.0", "+Inf"]
    assert [ticks for _, ticks in buckets][:3] == [1, 3, 6]
    assert buckets[-1][1] == sum(late)
    assert total_s == 2.5


def used(text: str) -> set[str]:
    found = set(re.findall(r"\bautoballoon_\w+", text))
    return {re.sub(r"_(bucket|count|sum)$", "", name) if "lateness" in name else name for name in found}


def test_alerts_and_the_dashboard_use_metrics_that_there_are() -> None:
    there = {metric.name for metric in METRICS}
    alerts = (ROOT / "packaging/prometheus/alerts.yml").read_text()
    board = json.loads((ROOT / "packaging/grafana/autoballoon.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    assert used(alerts) <= there
    assert len(queries) > 8
    assert used(" ".join(queries)) <= there
    assert board["uid"] == "autoballoon"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
