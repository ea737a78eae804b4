"""Prometheus's own checker takes the metrics and the alert rules; it is fetched into the cache, never installed."""

import subprocess
from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.model import Guest, Host, Reason, SetTarget, Snapshot
from autoballoon.core.pool import Account
from autoballoon.core.track import Health, Track
from autoballoon.core.units import GIB, MIB
from autoballoon.daemon.metrics_server import exposition
from autoballoon.lab.packages import unpacked
from autoballoon.views.metrics import Counts, Scene
from autoballoon.views.status import DaemonStatus, Tick, books

pytestmark = pytest.mark.lab

ALERTS = Path(__file__).resolve().parents[2] / "packaging/prometheus/alerts.yml"


@pytest.fixture(scope="session")
def promtool() -> Path:
    try:
        return unpacked("prometheus", print) / "usr/bin/promtool"
    except CouldNot as trouble:
        pytest.skip(str(trouble))


def test_it_takes_the_metrics(promtool: Path) -> None:
    account = Account(capacity=8 * GIB, available=GIB, reserve=MIB, other=0, pool=GIB, charges=0)
    daemon = DaemonStatus("0.1", 9, "ladder", False, 1.0, 9.0, Tick(1, "interval", 0.0, 0.1), books(account))
    guest = Guest(
        "/a", 'a "strange" \\ name', GIB, GIB, resident=1, swapped=0, overhead=3, age_s=0.2, available=5
    )
    guest_track = Track(GIB, GIB, GIB, Health.OK)
    host = Host(8 * GIB, GIB, swap_in=1, swap_out=2, psi_some_s=0.5, psi_full_s=0.25)
    decisions = {(str(SetTarget.__struct_config__.tag), Reason.NEED.value): 4}
    scene = Scene(
        1e9, daemon, Snapshot(host, (guest,)), {"/a": guest_track}, Counts(ticks=4, decisions=decisions)
    )
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=exposition(scene), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_it_takes_the_alert_rules(promtool: Path, tmp_path: Path) -> None:
    checked = subprocess.run(
        [promtool, "check", "rules", ALERTS], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "9 rules found" in checked.stdout

    cases = tmp_path / "cases.yml"
    cases.write_text(f"""
rule_files: [{ALERTS}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'autoballoon_info', values: '1x30'}}
      - {{series: 'autoballoon_last_tick_timestamp_seconds', values: '0+60x30'}}
      - {{series: 'autoballoon_guest_health{{guest="db",health="no-driver"}}', values: '1x30'}}
      - {{series: 'autoballoon_guest_health{{guest="web",health="ok"}}', values: '1x30'}}
      - {{series: 'autoballoon_host_swap_in_bytes_total', values: '0+600000000x30'}}
    alert_rule_test:
      - {{eval_time: 20m, alertname: AutoballoonAbsent}}
      - {{eval_time: 20m, alertname: AutoballoonTicksFail}}
      - eval_time: 20m
        alertname: AutoballoonGuestNotBalanced
        exp_alerts:
          - exp_labels: {{severity: warning, guest: db, health: no-driver}}
            exp_annotations:
              summary: Guest db is not balanced (no-driver)
              description: autoballoon doctor says what it lacks and how to mend it.
      - eval_time: 20m
        alertname: AutoballoonHostSwaps
        exp_alerts:
          - exp_labels: {{severity: warning}}
            exp_annotations:
              summary: The host swaps in more than 1 MB/s
              description: Guests need more than the host has. autoballoon status shows who needs what.
  - interval: 1m
    input_series:
      - {{series: 'up{{job="autoballoon",instance="a:9177"}}', values: '1x30'}}
      - {{series: 'up{{job="autoballoon",instance="b:9177"}}', values: '0x30'}}
      - {{series: 'autoballoon_info{{job="autoballoon",instance="a:9177"}}', values: '1x30'}}
      - {{series: 'autoballoon_last_tick_timestamp_seconds{{job="autoballoon",instance="a:9177"}}', values: '0+60x30'}}
    alert_rule_test:
      - eval_time: 20m
        alertname: AutoballoonAbsent
        exp_alerts:
          - exp_labels: {{severity: critical, job: autoballoon, instance: "b:9177"}}
            exp_annotations:
              summary: No tick of autoballoon for a minute
              description: Guests keep what they hold, and nobody moves memory. systemctl status autoballoon
  - interval: 1m
    input_series: []
    alert_rule_test:
      - eval_time: 5m
        alertname: AutoballoonAbsent
        exp_alerts:
          - exp_labels: {{severity: critical}}
            exp_annotations:
              summary: No tick of autoballoon for a minute
              description: Guests keep what they hold, and nobody moves memory. systemctl status autoballoon
""")
    tested = subprocess.run([promtool, "test", "rules", cases], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr
