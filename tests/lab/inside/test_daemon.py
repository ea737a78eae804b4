"""`autoballoon run` in a cgroup v2 group, with a guest that only pretends."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from autoballoon.core.units import MIB
from autoballoon.lab.group import Group

LIMIT = 300 * MIB
HERE = Path(__file__).parent


def ask(socket: Path) -> dict[str, Any] | None:
    words = [sys.executable, "-m", "autoballoon", "status", "--socket", str(socket), "--json"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def test_the_daemon_fits_a_guest_into_its_group(group: Group, tmp_path: Path) -> None:
    group.limit(LIMIT)
    qmp, control, log = tmp_path / "fake.qmp", tmp_path / "control.sock", tmp_path / "log"
    guest = subprocess.Popen(
        [sys.executable, HERE / "fake_guest.py", qmp, group.procs[0]], stdout=subprocess.PIPE, text=True
    )
    config = tmp_path / "autoballoon.toml"
    config.write_text(
        f'[host]\ncapacity = "cgroup:{group.path}"\n[connect]\nqmp = ["{qmp}"]\n[control]\nsocket = "{control}"\n'
    )
    assert guest.stdout is not None and guest.stdout.readline() == "up\n"
    with log.open("w") as said:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "autoballoon", "run", "--config", config], stdout=said, stderr=said
        )
    try:
        deadline = time.monotonic() + 40
        while True:
            status = ask(control)
            if status and (seen := status["snapshot"]["guests"]) and seen[0]["actual"] < LIMIT:
                break
            assert time.monotonic() < deadline and daemon.poll() is None, f"{status}\n{log.read_text()}"
        assert status["snapshot"]["host"]["capacity"] == LIMIT
        assert seen[0]["pid"] == guest.pid
        assert seen[0]["resident"] is not None
        assert seen[0]["actual"] >= 80 * MIB
        assert status["snapshot"]["host"]["psi_some_s"] is not None
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        for process in (daemon, guest):
            process.kill()
            process.wait()
