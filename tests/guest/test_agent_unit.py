"""The agent's unit, as far as systemd's own tools can tell without a running systemd."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "guest/agent/autoballoon-agent.service"
PORT = "/dev/virtio-ports/org.autoballoon.0"
WORST = 38
"""Tenths: systemd calls 3.8 of 10 OK. It runs as root, since the port is root's."""


def tool(*words: str) -> "subprocess.CompletedProcess[str]":
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed; it is in Debian's package systemd")
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=30)


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).extend(value.split())
    return found


def test_systemd_takes_every_line(tmp_path: Path) -> None:
    # The program is not installed here.
    text = UNIT.read_text().replace("/usr/bin/autoballoon-agent", str(shutil.which("true")))
    (tmp_path / UNIT.name).write_text(text)
    ended = tool("systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT.name))
    assert (ended.returncode, ended.stderr) == (0, "")


def test_it_starts_when_the_port_comes_however_late_and_is_started_again_for_ever() -> None:
    unit, device = settings(), tool("systemd-escape", "--path", "--suffix=device", PORT).stdout.strip()
    assert unit["BindsTo"] == unit["WantedBy"] == [device]
    assert device in unit["After"]
    assert unit["Restart"] == ["always"] and unit["StartLimitIntervalSec"] == ["0"]
    assert "RestartPreventExitStatus" not in unit, "a port that another has may be free later"


def test_its_exposure_is_what_it_was_made_to_be() -> None:
    ended = tool("systemd-analyze", "security", "--offline=yes", f"--threshold={WORST}", str(UNIT))
    assert ended.returncode == 0, ended.stdout


def test_each_capability_has_its_reason() -> None:
    reasons = re.findall(r"^# (CAP_\w+) +\w", UNIT.read_text(), re.MULTILINE)
    assert reasons == settings()["CapabilityBoundingSet"]


def test_what_it_keeps_lies_in_a_folder_that_the_unit_makes_and_takes_away() -> None:
    assert settings()["RuntimeDirectory"] == ["autoballoon-agent"]
