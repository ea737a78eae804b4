"""The unit, its slice, the group and the folder, as far as systemd's own tools can tell without a running systemd."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "packaging"
UNIT = FOLDER / "autoballoon.service"
WORST = 25
"""Tenths: systemd calls 2.5 of 10 OK. What makes it so much is each explained in the unit."""


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; it is in Debian's package systemd")
    return found


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_what_the_host_is_short_of_last_is_taken_from_the_daemon() -> None:
    assert settings()["OOMScoreAdjust"] == ["-900"]
    assert settings()["MemoryMin"] == ["128M"]


def test_systemd_takes_every_line(tmp_path: Path) -> None:
    program = shutil.which("true")
    for file in (UNIT, FOLDER / "autoballoon.slice"):
        # The command is not installed here, nor is its page.
        text = re.sub(r"/usr/bin/autoballoon\b", str(program), file.read_text()).replace("man:", "info:")
        (tmp_path / file.name).write_text(text)
    ended = subprocess.run(
        [tool("systemd-analyze"), "verify", "--man=no", *(str(path) for path in tmp_path.iterdir())],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_its_exposure_is_what_it_was_made_to_be() -> None:
    ended = subprocess.run(
        [tool("systemd-analyze"), "security", "--offline=yes", f"--threshold={WORST}", str(UNIT)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    "exception",
    ["ProtectControlGroups", "ProtectHome", "ProtectProc", "PrivateUsers", "RestrictAddressFamilies"],
)
def test_each_exception_has_its_reason_above_it(exception: str) -> None:
    assert re.search(rf"^# .+\n(#.*\n)*{exception}=", UNIT.read_text(), re.MULTILINE)


def test_each_capability_has_its_reason() -> None:
    (held,) = settings()["CapabilityBoundingSet"]
    assert re.findall(r"^# (CAP_\w+) +\w", UNIT.read_text(), re.MULTILINE) == held.split()


def test_it_is_restarted_for_ever_but_for_a_bad_configuration_and_lets_guests_run_after_each_end() -> None:
    unit = settings()
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert unit["RestartPreventExitStatus"] == ["2"]
    (start,), (after,) = unit["ExecStart"], unit["ExecStopPost"]
    assert after == f"-{start} --release"
    assert unit["Type"] == ["notify"]


def test_it_ends_before_libvirt_guests_saves_guests_that_it_has_stopped() -> None:
    assert "libvirt-guests.service" in " ".join(settings()["After"]).split()


def test_the_group_and_the_folder_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name, more in (("sysusers", []), ("tmpfiles", ["--create"])):
        subprocess.run(
            [tool(f"systemd-{name}"), f"--root={tmp_path}", *more, str(FOLDER / f"autoballoon.{name}")],
            check=True,
            capture_output=True,
            timeout=30,
        )
    (group,) = re.findall(r"^autoballoon:x:(\d+):", (tmp_path / "etc/group").read_text(), re.MULTILINE)
    folder = (tmp_path / "run/autoballoon").stat()
    assert (folder.st_mode & 0o777, folder.st_gid) == (0o750, int(group))
