"""Orders and questions as people give them, to a daemon with fake guests in a thread of this process."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoballoon.core.units import MIB
from autoballoon.guests.fake import FakeGuest
from tests.cli.test_verbs import call
from tests.daemon.test_loop import World


class Running:
    """A daemon on a loop of its own, in a thread; the socket is all that is shared."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "control.sock"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._live(folder),))
        self._up = threading.Event()
        self.dry = False

    async def _live(self, folder: Path) -> None:
        self._end = asyncio.Event()
        self.world = World(folder, 1500, *(FakeGuest(f"web-{n}", cache=100 * MIB) for n in range(3)))
        self.world.config = msgspec.structs.replace(self.world.config, interval_s=0.1)
        self.world.daemon.reload()
        async with self.world:
            while self.world.daemon._ticks < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            self._up.set()
            await self._end.wait()

    def __enter__(self) -> "Running":
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


@pytest.fixture
def say(running: Running) -> Callable[..., str]:
    """Runs a verb; what it printed."""

    def run(*words: str, code: int = 0) -> str:
        result = call(*words, "--socket", running.socket)
        assert result.exit_code == code, result.output
        if code:
            assert result.output.startswith("autoballoon: ")
            assert result.output.count("\n") == 1
        return result.output

    return run


Say = Callable[..., str]


def test_hold_and_unhold(say: Say) -> None:
    assert re.fullmatch(r"web-1: held at \d+ MiB, it may still grow\n", say("hold", "web-1"))
    assert "held" in say("status")
    assert say("unhold", "web-1") == "web-1: balanced again\n"
    everybody = say("hold").splitlines()
    assert everybody[0] == "every guest is held, and those to come: 3 there now"
    assert len(everybody) == 4
    assert json.loads(say("unhold", "--json"))["held"] == []
    assert say("hold", "nobody", code=2) == (
        "autoballoon: there is no guest 'nobody'; `autoballoon status` names them\n"
    )


def test_set_prints_the_lines_that_make_it_last(say: Say) -> None:
    told = say("set", "web-2", "floor=200MiB", "shares=2000")
    assert told.startswith("web-2: floor 200 MiB, ceiling 512 MiB, shares 2000, until the daemon ends\n")
    assert told.endswith('\n\n[guests."web-2"]\nfloor = "200MiB"\nshares = 2000\n')
    for words, says in (
        (("floor=12",), "floor"),
        (("floor=2GiB",), "more than its RAM"),
        (("flor=1GiB",), "'flor=1GiB' sets nothing; give floor=.., ceiling=.., shares=.."),
        (("floor",), "sets nothing"),
        (("shares=many",), "is no whole number"),
        (("shares=1", "shares=2"), "shares is given twice"),
    ):
        assert says in say("set", "web-2", *words, code=2)
    assert json.loads(say("set", "web-2", "shares=1000", "--json"))["shares"] == 1000


def test_room(say: Say) -> None:
    assert (
        say("room", "16MiB", "--for", "new", "--timeout", "1s")
        == "16 MiB are there for new, and kept for 1 s\n"
    )
    assert "only" in say("room", "1300MiB", "--timeout", "100ms", code=3)
    assert "web-0 is there already" in say("room", "16MiB", "--for", "web-0", code=2)
    assert "no known unit" in say("room", "16", code=2)
    assert "the duration" in say("room", "16MiB", "--timeout", "soon", code=2)


def test_explain(say: Say) -> None:
    say("hold", "web-0")
    say("unhold", "web-0")
    lines = say("explain", "web-0").splitlines()
    assert any(line.endswith("asked for: hold web-0") for line in lines)
    assert any("  web-0: " in line for line in lines)
    told = json.loads(say("explain", "--since", "1h", "--json"))
    assert {entry["guest"] for entry in told["entries"]} >= {"web-0", "web-1", "web-2"}
    assert "there is no guest" in say("explain", "nobody", code=2)
    assert "the duration" in say("explain", "--since", "long", code=2)


def test_guests_are_completed(running: Running) -> None:
    environment = os.environ | {
        "_AUTOBALLOON_COMPLETE": "bash_complete",
        "COMP_WORDS": f"autoballoon hold --socket {running.socket} web",
        "COMP_CWORD": "4",
    }
    command = [str(Path(sys.executable).with_name("autoballoon"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.split() == ["plain,web-0", "plain,web-1", "plain,web-2"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(shell: str) -> None:
    result = call("completion", shell)
    assert result.exit_code == 0
    assert "_AUTOBALLOON_COMPLETE" in result.output


def test_colour_only_on_a_terminal_that_wants_it(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in say("status")
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1mGUEST" in say("status")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in say("status")


def recorded(running: Running, file: Path, ticks: int = 2) -> Path:
    """A recording made by the verb, in a process of its own, ended as a service manager would."""
    command = [sys.executable, "-m", "autoballoon", "record", str(file), "--socket", str(running.socket)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until = running.world.daemon._ticks + ticks + 1
        while running.world.daemon._ticks < until or not file.exists():
            time.sleep(0.02)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=10)
    assert process.returncode == 0, told
    assert told.startswith(f"{file}: ")
    return file


def test_record_replay_and_plan(running: Running, tmp_path: Path) -> None:
    file = recorded(running, tmp_path / "night.rec.gz")
    told = call("replay", file)
    assert told.exit_code == 0
    assert "recorded with policy ladder, replayed with ladder" in told.output
    data = json.loads(call("replay", file, "--policy", "static", "--json").output)
    assert data["policy"] == "static"
    assert data["compared"] == 3 * data["ticks"] > 0
    planned = call("plan", "--from", file, "--at", "0s", "--json")
    assert json.loads(planned.output)["targets"].keys() == {"web-0", "web-1", "web-2"}
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(data["to_s"]))
    assert call("plan", "--from", file, "--at", clock).exit_code == 0
    for words, says in (
        (("replay", file, "--policy", "none"), "none"),
        (("replay", tmp_path / "no"), "cannot be read"),
        (("plan", "--from", file), "say with --at which moment"),
        (("plan", "--at", "1s"), "give the recording with --from"),
        (("plan", "--from", file, "--at", "2000-01-01T00:00:00"), "the recording begins at"),
        (("plan", "--from", file, "--at", "9h"), "the recording ends at"),
        (("plan", "--from", file, "--at", "noon"), "is no time; write it like 14:03"),
        (("record", tmp_path / "x", "--limit", "1KiB", "--socket", running.socket), "holds nothing"),
    ):
        refused = call(*words)
        assert refused.exit_code == 2, refused.output
        assert says in refused.output
        assert refused.output.count("\n") == 1


def test_a_recording_that_cannot_be_written_is_one_sentence(running: Running) -> None:
    result = call("record", Path("/proc/none/x"), "--socket", running.socket)
    assert result.exit_code == 3
    assert "the recording cannot be written" in result.output
    assert result.output.count("\n") == 1


def test_without_a_daemon_every_verb_is_one_sentence(tmp_path: Path) -> None:
    verbs: list[list[Any]] = [
        ["hold"], ["unhold", "x"], ["set", "x", "shares=1"], ["room", "1MiB"], ["explain"], ["record", tmp_path / "r"],
    ]  # fmt: skip
    for words in verbs:
        result = call(*words, "--socket", tmp_path / "none.sock")
        assert result.exit_code == 3
        assert "no daemon answers" in result.output
        assert result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
