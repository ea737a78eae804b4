"""The daemon with [metrics], as a user starts it."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from autoballoon.cli import main


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def shown(port: int) -> str:
    """What /metrics shows, once there is something; nothing where nobody listens."""
    for _ in range(500):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status == 200:
                return text
        except ConnectionError:
            pass
        finally:
            connection.close()
        time.sleep(0.01)
    return ""


def configure(folder: Path, metrics: str) -> Path:
    file = folder / "autoballoon.toml"
    file.write_text(f'[host]\ndry_run = true\n[control]\nsocket = "{folder}/control.sock"\n{metrics}')
    return file


def test_it_serves_and_moves_with_a_reload(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    config = configure(tmp_path, f'[metrics]\nlisten = "127.0.0.1:{first}"\n')
    command = [sys.executable, "-m", "autoballoon", "run", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            text = shown(first)
            assert "\nautoballoon_dry_run 1.0\n" in text
            assert "\nautoballoon_tick_failures_total 0.0\n" in text
            configure(tmp_path, f'[metrics]\nlisten = "127.0.0.1:{second}"\n')
            daemon.send_signal(signal.SIGHUP)
            assert "\nautoballoon_dry_run 1.0\n" in shown(second)
        finally:
            daemon.terminate()
            _, log = daemon.communicate(timeout=10)
    assert daemon.returncode == 0
    assert "Traceback" not in log


def test_a_port_that_is_taken_is_one_sentence_and_guests_are_balanced_all_the_same(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = configure(tmp_path, f'[metrics]\nlisten = "127.0.0.1:{port}"\n')
        command = [sys.executable, "-m", "autoballoon", "run", "--config", str(config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
            try:
                trouble: list[str] = []
                for _ in range(500):
                    asked = CliRunner().invoke(
                        main, ["status", "--socket", f"{tmp_path}/control.sock", "--json"]
                    )
                    if asked.exit_code == 0:
                        trouble = [one["says"] for one in json.loads(asked.output)["daemon"]["problems"]]
                        break
                    time.sleep(0.01)
            finally:
                daemon.terminate()
                _, log = daemon.communicate(timeout=10)
    assert daemon.returncode == 0
    (says,) = [one for one in trouble if one.startswith("[metrics]")]
    assert f"[metrics] listen: cannot listen on 127.0.0.1:{port}" in says
    assert says in log
    assert "Traceback" not in log


def test_check_says_where(tmp_path: Path) -> None:
    config = configure(tmp_path, "[metrics]\n")
    result = CliRunner().invoke(main, ["check", str(config)])
    assert "metrics: http://127.0.0.1:9177/metrics\n" in result.output


@pytest.mark.parametrize(
    ("listen", "refused"),
    [("127.0.0.2:9177", False), ("[::1]:9177", False), ("192.0.2.7:9177", True), ("[::]:9177", True)],
)
def test_check_says_whom_the_unit_keeps_out(tmp_path: Path, listen: str, refused: bool) -> None:
    config = configure(tmp_path, f'[metrics]\nlisten = "{listen}"\n')
    result = CliRunner().invoke(main, ["check", str(config)])
    (line,) = (line for line in result.output.splitlines() if line.startswith("metrics: "))
    assert line.startswith(f"metrics: http://{listen}/metrics")
    assert ("IPAddressAllow=" in line) is refused
