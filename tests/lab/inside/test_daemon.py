"""`autoballoon run` and `doctor` on a host that has cgroup v2 alone, with a guest that only pretends."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autoballoon.core.units import MIB
from autoballoon.lab.group import Group

LIMIT, RESERVE = 400 * MIB, 150 * MIB
HERE = Path(__file__).parent


def ask(socket: Path) -> dict[str, Any] | None:
    words = [sys.executable, "-m", "autoballoon", "status", "--socket", str(socket), "--json"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts `autoballoon run` with the configuration in the test's folder; all that were started end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "autoballoon", "run", "--config", str(tmp_path / "autoballoon.toml")]
        with (tmp_path / "log").open("a") as said:
            started.append(subprocess.Popen(words, stdout=said, stderr=said))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()


def until(seen: Callable[[], Any], tmp_path: Path) -> Any:
    """What `seen` returns once it is true."""
    deadline = time.monotonic() + 40
    while not (found := seen()):
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.2)
    return found


@pytest.fixture
def guest(group: Group, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A guest in a group of its own, fake.scope, below the one that is the host."""
    group.limit(LIMIT)
    (group.path / "cgroup.subtree_control").write_text("+memory")
    scope = group.path / "fake.scope"
    scope.mkdir()
    words = [
        sys.executable,
        str(HERE / "fake_guest.py"),
        str(tmp_path / "fake.qmp"),
        str(scope / "cgroup.procs"),
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.communicate()
    for _ in range(50):
        with contextlib.suppress(OSError):
            scope.rmdir()
        if not scope.exists():
            break
        time.sleep(0.1)


def test_the_daemon_fits_a_guest_into_its_group_and_holds_it_there(
    group: Group,
    swap: Path,
    guest: subprocess.Popen[str],
    daemon: Callable[[], subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    scope, control, config = (
        group.path / "fake.scope",
        tmp_path / "control.sock",
        tmp_path / "autoballoon.toml",
    )
    config.write_text(
        f'[host]\ncapacity = "cgroup:{group.path}"\ncontain = true\nreserve = "{RESERVE}B"\n'
        f'[connect]\nqmp = ["{tmp_path}/fake.qmp"]\n[control]\nsocket = "{control}"\n'
    )

    def high() -> int:
        text = (scope / "memory.high").read_text().strip()
        return 0 if text == "max" else int(text)

    def fitted() -> Any:
        status = ask(control)
        guests = status["snapshot"]["guests"] if status else []
        return status if guests and guests[0]["actual"] < LIMIT - RESERVE else None

    first = daemon()
    status = until(fitted, tmp_path)
    (seen,) = status["snapshot"]["guests"]
    assert status["snapshot"]["host"]["capacity"] == LIMIT
    assert status["snapshot"]["host"]["psi_some_s"] is not None
    assert seen["pid"] == guest.pid
    assert seen["resident"] is not None
    assert seen["actual"] >= 80 * MIB
    # It is held to what it was granted, and a little more.
    assert seen["actual"] + 64 * MIB < until(high, tmp_path) < LIMIT - 20 * MIB
    guest.send_signal(signal.SIGUSR1)
    assert guest.stdout is not None
    assert guest.stdout.readline() == "taken\n"
    assert int((scope / "memory.current").read_text()) < high() + 8 * MIB
    assert int((scope / "memory.swap.current").read_text()) > 10 * MIB
    print(
        "held at", high() >> 20, "MiB; swapped", int((scope / "memory.swap.current").read_text()) >> 20, "MiB"
    )
    # A daemon that is killed leaves it so, and whoever comes after it lifts it.
    first.kill()
    first.wait()
    assert high()
    words = [sys.executable, "-m", "autoballoon", "run", "--config", str(config), "--release"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert done.stdout == f"memory.high of {scope} is max again\n"
    assert not high()
    second = daemon()
    until(high, tmp_path)
    second.send_signal(signal.SIGTERM)
    assert second.wait(10) == 0, (tmp_path / "log").read_text()
    assert not high()
    assert "Traceback" not in (tmp_path / "log").read_text()


def doctor(config: Path) -> tuple[int, dict[str, Any]]:
    words = [sys.executable, "-m", "autoballoon", "doctor", "--config", str(config)]
    for more in ([], ["--json"]):
        done = subprocess.run([*words, *more], check=False, capture_output=True, text=True)
        assert done.stderr == ""
        print(done.stdout)
    return done.returncode, json.loads(done.stdout)


def ids(told: dict[str, Any]) -> list[str]:
    return [one["id"] for one in told["findings"]]


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def test_doctor_tells_what_can_be_contained_and_what_cannot(
    group: Group,
    swap: Path,
    guest: subprocess.Popen[str],
    daemon: Callable[[], subprocess.Popen[bytes]],
    bystander: subprocess.Popen[bytes],
    tmp_path: Path,
) -> None:
    config, control = tmp_path / "autoballoon.toml", tmp_path / "control.sock"

    def configure(capacity: str) -> None:
        config.write_text(
            f'[host]\ncapacity = "{capacity}"\ncontain = true\nreserve = "{150 * MIB}B"\n'
            f'[connect]\nqmp = ["{tmp_path}/fake.qmp"]\n[control]\nsocket = "{control}"\n'
        )

    # Without a daemon: a capacity that is none, then what is there.
    configure("cgroup:/sys/fs/cgroup/nowhere")
    code, told = doctor(config)
    assert (code, "capacity" in ids(told)) == (3, True)
    configure(f"cgroup:{group.path}")
    code, told = doctor(config)
    assert code == 0, told
    (seen,) = told["facts"]["guests"]
    assert (seen["pid"], seen["uncontained"]) == (guest.pid, None)
    host = told["facts"]["host"]
    assert (host["root"], host["psi"], host["contain"], host["capacity"]) == (True, True, None, None)
    assert host["swap"] > 0
    assert not {"capacity", "contain", "no-swap", "no-psi", "not-contained", "not-root"} & set(ids(told))
    # With a daemon, and another process in the guest's group: both complain of it, and it is told once.
    (group.path / "fake.scope/cgroup.procs").write_text(str(bystander.pid))
    daemon()

    def complains() -> bool:
        status = ask(control)
        return status is not None and "containment" in [one["kind"] for one in status["daemon"]["problems"]]

    until(complains, tmp_path)
    code, told = doctor(config)
    assert code == 0, told
    assert ids(told).count("not-contained") == 1
    (uncontained,) = [one for one in told["findings"] if one["id"] == "not-contained"]
    assert str(bystander.pid) in uncontained["what"]
    assert "daemon-says" not in ids(told)
