"""The verbs as people use them: their words, their exit codes."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autoballoon import __version__
from autoballoon.cli import connect, main
from autoballoon.daemon.lock import ControlSocket
from autoballoon.guests.qmp_checkup import unusable
from autoballoon.host.guest_group import GuestGroups
from tests.guests.fake_qmp import GREETING
from tests.host.groups_v2 import Tree


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="autoballoon")


@contextmanager
def another_program(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """Somebody listens at `path` who serves one client."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            peer, _ = listener.accept()
            with peer:
                serve(peer)

        thread = threading.Thread(target=accept)
        thread.start()
        yield
        thread.join()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "autoballoon.toml"
    file.write_text(
        f'[connect]\nqmp = ["{tmp_path}/*.qmp"]\n[guests."db-*"]\nmanage = false\n'
        f'[control]\nsocket = "{tmp_path}/control.sock"\n'
    )
    return file


def test_version() -> None:
    assert call("version").output == call("--version").output == f"autoballoon {__version__}\n"


@pytest.mark.parametrize("words", [["version"], ["--version"], ["plan", "--help"], ["sim", "list"]])
def test_output_that_finds_no_room_is_one_sentence(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "autoballoon", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    says = "autoballoon: No space left on device; make room where its output goes\n"
    assert (done.returncode, done.stderr) == (3, says)


def test_an_error_that_nobody_can_be_told_has_its_exit_code(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "autoballoon", "status", "--socket", str(tmp_path / "none")]
        assert subprocess.run(command, stderr=full, check=False).returncode == 3


def test_output_that_nobody_reads_ends_quietly() -> None:
    command = [sys.executable, "-m", "autoballoon", "sim", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_an_unknown_verb_is_bad_input() -> None:
    assert call("dance").exit_code == 2


def test_help_names_every_verb() -> None:
    output = call("--help").output
    assert all(verb in output for verb in ("run", "check", "status", "version", "plan", "lab"))


def test_check_counts_sockets_and_names_what_is_none(config: Path, tmp_path: Path) -> None:
    config.write_text(f'[connect]\nqmp = ["{tmp_path}/*.qmp"]\n')
    (tmp_path / "words.qmp").touch()
    with socket.socket(socket.AF_UNIX) as guest:
        guest.bind(str(tmp_path / "web.qmp"))
        output = call("check", config).output
    assert "*.qmp: 1 there now" in output
    assert f"; no socket: {tmp_path}/words.qmp\n" in output


def test_check_says_that_others_may_see_more(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('[connect]\nqmp = ["/run/none/*.qmp"]\n')
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert (
        "0 there now; run as root to see those in folders that you may not read\n"
        in call("check", config).output
    )


def test_check_counts_the_sockets_of_agents_too(config: Path) -> None:
    config.write_text('[connect]\nagent = ["/run/none/*.agent"]\nqga = ["/run/none/*.qga"]\n')
    output = call("check", config).output
    assert "agent: /run/none/*.agent: 0 there now\n" in output
    assert "qga: /run/none/*.qga: 0 there now\n" in output
    told = json.loads(call("check", config, "--json").output)
    assert told["matches"].keys() == {"/run/none/*.agent", "/run/none/*.qga"}


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp"])
def test_check_says_what_the_service_will_not_see(config: Path, folder: str) -> None:
    config.write_text(f'[connect]\nqmp = ["{folder}/none/*.qmp", "/run/none/*.qmp"]\n')
    output = call("check", config).output
    assert f"qmp: {folder}/none/*.qmp: 0 there now; autoballoon.service has a /tmp of its own" in output
    assert "qmp: /run/none/*.qmp: 0 there now\n" in output


@pytest.mark.parametrize(
    ("greeting", "says"),
    [
        (b"220 mail.example.org ESMTP\r\n", "does not speak QMP; take it out"),
        (b"", "is held open by no QEMU and answers as none; take it out"),
    ],
)
def test_check_refuses_a_socket_that_is_another_programs(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, greeting: bytes, says: str
) -> None:
    monkeypatch.setattr("autoballoon.cli.serve.unusable", partial(unusable, timeout_s=0.2))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    path = tmp_path / "mail.qmp"

    def serve(peer: socket.socket) -> None:
        peer.sendall(greeting)
        peer.recv(1000)

    with another_program(path, serve):
        result = call("check", config)
    assert result.exit_code == 2
    assert result.output == f"autoballoon: {config}: [connect] qmp: {path} {says} of [connect] qmp\n"


def test_check_of_a_guest_without_a_balloon_is_exit_code_3(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "web.qmp"

    def serve(peer: socket.socket) -> None:
        peer.sendall(json.dumps(GREETING).encode() + b"\n")
        while requests := peer.recv(4096).decode():
            for request in requests.replace("}{", "}\n{").splitlines():
                peer.sendall(json.dumps({**json.loads(request), "return": []}).encode() + b"\n")

    with another_program(path, serve):
        result = call("check", config)
    says = "the guest has no balloon device; start QEMU with -device virtio-balloon-pci"
    assert result.exit_code == 3
    assert f"{config} can be used" in result.stdout
    assert f"qmp: {path}: {says}\n" in result.stdout
    assert result.stderr == f"autoballoon: {config}: {path}: {says}, or take it out of [connect] qmp\n"


def test_check_knocks_at_no_socket_that_a_daemon_holds(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as guest:
        guest.bind(str(tmp_path / "web.qmp"))
        guest.listen()
        guest.setblocking(False)
        held = frozenset({str(tmp_path / "web.qmp")})
        monkeypatch.setattr("autoballoon.cli.serve.held_by_daemon", lambda path: held)
        assert call("check", config).exit_code == 0
        with pytest.raises(BlockingIOError):
            guest.accept()


def test_check_says_what_would_run(config: Path) -> None:
    result = call("check", config)
    assert result.exit_code == 0
    assert f"{config} can be used" in result.output
    assert "guests db-*: left alone" in result.output
    assert "*.qmp: 0 there now" in result.output


def test_check_says_who_may_be_suspended(config: Path) -> None:
    config.write_text(config.read_text() + '[host]\noverload = "suspend"\n')
    output = call("check", config).output
    assert "overload: suspend: guests with may_suspend = true are stopped in turn" in output
    assert "nobody may be suspended" in output
    config.write_text(config.read_text() + '[guests."web-*"]\nmay_suspend = true\n')
    output = call("check", config).output
    assert "guests web-*: floor 25%, ceiling 100%, headroom 25%, shares 1000, may be suspended" in output
    assert "nobody may be suspended" not in output


def test_release_with_nobody_stopped(config: Path) -> None:
    result = call("run", "--config", config, "--release")
    assert (result.exit_code, result.output) == (0, "no guest is stopped or limited by autoballoon\n")
    assert list(config.parent.iterdir()) == [config]
    assert call("run", "--config", config, "--release", "--dry-run").exit_code == 2


def test_release_beside_a_daemon_is_refused(config: Path, daemon: subprocess.Popen[str]) -> None:
    result = call("run", "--config", config, "--release")
    assert result.exit_code == 3
    assert "another autoballoon daemon holds" in result.output


def test_release_of_a_guest_that_is_gone_forgets_it(config: Path) -> None:
    state = config.with_name("control.sock.state.json")
    state.write_text('{"v":1,"stopped":[{"key":"/run/x.qmp","name":"x","pid":1,"process":"long ago"}]}')
    result = call("run", "--config", config, "--release")
    assert (result.exit_code, result.output) == (0, "no guest is stopped or limited by autoballoon\n")
    assert not state.exists()


def test_release_with_a_configuration_that_cannot_be_used_goes_by_the_state_directory(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, usual = tmp_path / "state.json", tmp_path / "usual.sock"
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("autoballoon.cli.serve.DEFAULT_SOCKET", str(usual))
    state.write_text('{"v":1,"stopped":[{"key":"/run/x.qmp","name":"x","pid":1,"process":"long ago"}]}')
    config.write_text("[hots]\n")
    result = call("run", "--config", config, "--release")
    assert result.exit_code == 2
    assert "no guest is stopped or limited by autoballoon" in result.output
    assert "there is no [hots]" in result.output
    assert not state.exists()
    with closing(ControlSocket(usual)):
        result = call("run", "--config", config, "--release")
    assert result.exit_code == 3
    assert "there is no [hots]" in result.output
    assert "another autoballoon daemon holds" in result.output


def test_check_says_whether_guests_can_be_contained(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree(tmp_path / "root")
    monkeypatch.setattr("autoballoon.cli.serve.GuestGroups", lambda: GuestGroups(tree.root))
    config.write_text(config.read_text() + "[host]\ncontain = true\n")
    assert "contain: memory.high on each guest's own control group" in call("check", config).output
    (tree.cgroup / "cgroup.controllers").write_text("cpu\n")
    result = call("check", config)
    assert result.exit_code == 2
    assert "[host] contain = true needs memory.high" in result.output
    assert "Traceback" not in result.output


def test_check_as_json(config: Path) -> None:
    data = json.loads(call("check", "--json", config).output)
    assert data["config"]["socket"].endswith("control.sock")
    assert data["host"]["capacity"] > 0
    assert data["troubles"] == {}


def test_check_as_json_tells_of_sockets_that_cannot_be_used(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    path = tmp_path / "web.qmp"
    with another_program(path, lambda peer: None):
        data = json.loads(call("check", "--json", config).output)
    assert data["troubles"][str(path)].startswith("hung up before it greeted")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[host]\nreserv = '5%'", "[host] has no key 'reserv'"),
        ("[connect]\nqmp = ['/run/qemu-server/*.qmp']", "Proxmox"),
        ("[connect]\nqmp = ['/var/lib/libvirt/qemu/*/monitor.sock']", "libvirt"),
        ("[host]\ncapacity = 'cgroup:/sys/fs/cgroup/memory/no-such-group-here'", "no-such-group-here"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(config: Path, text: str, says: str) -> None:
    config.write_text(text)
    exit_code = 3 if "no-such" in text else 2  # a group may come later: the service is to be started again
    for words in (("check", config), ("run", "--config", config)):
        result = call(*words)
        assert result.exit_code == exit_code
        assert result.output.startswith("autoballoon: ")
        assert says in result.output
        assert result.output.count("\n") == 1


def test_status_without_a_daemon_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.sock", tmp_path, Path("/" + "x" * 200)):
        result = call("status", "--socket", path)
        assert result.exit_code == 3
        assert result.output.startswith(f"autoballoon: no daemon answers at {path}")
        assert result.output.count("\n") == 1


def test_at_the_usual_socket_the_service_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = str(tmp_path / "control.sock")
    monkeypatch.setattr(connect, "DEFAULT_SOCKET", usual)
    for path, there in ((usual, True), (tmp_path / "other.sock", False)):
        result = call("status", "--socket", path)
        assert result.output.count("\n") == 1
        assert ("`systemctl start autoballoon`" in result.output) is there
        assert ("`journalctl -u autoballoon`" in result.output) is there
        assert "`autoballoon run --config FILE`" in result.output


@pytest.mark.parametrize("answer", [b"", b"hello\n", b'{"ok":true,"data":{}}\n', b'{"ok":"maybe"}\n'])
def test_status_from_something_else_is_one_sentence(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "other.sock"

    def serve(peer: socket.socket) -> None:
        peer.recv(1000)
        peer.sendall(answer)

    with another_program(path, serve):
        result = call("status", "--socket", path)
    assert result.exit_code == 3
    assert result.output.startswith("autoballoon: ")
    assert result.output.count("\n") == 1


@pytest.fixture
def daemon(config: Path) -> Iterator[subprocess.Popen[str]]:
    """A real daemon without guests, in a process of its own."""
    command = [sys.executable, "-m", "autoballoon", "run", "--config", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 10
        while call("status", "--socket", config.with_name("control.sock")).exit_code != 0:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_daemons_life(config: Path, daemon: subprocess.Popen[str]) -> None:
    control = config.with_name("control.sock")
    assert "no guests" in call("status", "--socket", control).output
    status = json.loads(call("status", "--json", "--socket", control).output)
    assert status.keys() == {"daemon", "snapshot", "decisions"}
    assert status["daemon"]["pid"] == daemon.pid
    planned = call("plan", "--socket", control)
    assert planned.output.startswith("one step of policy ladder\n")
    assert "no guests" in planned.output
    assert json.loads(call("plan", "--json", "--socket", control).output)["targets"] == {}

    second = call("run", "--config", config)
    assert second.exit_code == 3
    assert "another autoballoon daemon holds" in second.output

    config.write_text("[host]\nreserv = '5%'")
    os.kill(daemon.pid, signal.SIGHUP)
    os.kill(daemon.pid, signal.SIGTERM)
    began = time.monotonic()
    _, log = daemon.communicate(timeout=10)
    assert time.monotonic() - began < 5
    assert daemon.returncode == 0
    assert "Traceback" not in log
    assert list(config.parent.iterdir()) == [config]


def test_a_killed_daemon_is_followed_by_another(config: Path, daemon: subprocess.Popen[str]) -> None:
    daemon.kill()
    daemon.wait()
    command = [sys.executable, "-m", "autoballoon", "run", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as second:
        assert second.stderr is not None
        assert __version__ in second.stderr.readline()
        second.send_signal(signal.SIGINT)
        assert second.wait(10) == 0
