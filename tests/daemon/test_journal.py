"""The log: lines that the journal, a person or a program can read, and that nobody waits for."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.daemon.journal import LONGEST_QUEUE, Form, LineHandler, is_journal

log = logging.getLogger("autoballoon.tests.journal")


class Pipe:
    """What a handler writes into."""

    def __init__(self) -> None:
        self.end, self.fd = os.pipe()
        self.handlers: list[LineHandler] = []

    def handler(self, form: Form = "text", *, to_journal: bool = False) -> LineHandler:
        handler = LineHandler(self.fd, form, to_journal=to_journal)
        log.addHandler(handler)
        self.handlers.append(handler)
        return handler

    def lines(self) -> list[str]:
        """All that was written, once the handlers are closed."""
        for handler in self.handlers:
            handler.close()
        os.close(self.fd)
        self.fd = -1
        with os.fdopen(os.dup(self.end), "rb") as file:
            return file.read().decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    log.propagate = False
    log.setLevel(logging.DEBUG)
    pipe = Pipe()
    yield pipe
    for handler in pipe.handlers:
        log.removeHandler(handler)
    log.propagate = True
    os.close(pipe.end)
    if pipe.fd >= 0:
        os.close(pipe.fd)


def test_a_line_for_people_has_time_and_level(pipe: Pipe) -> None:
    pipe.handler()
    log.info("web: %s", "512 -> 256 MiB")
    (line,) = pipe.lines()
    at, level, *says = line.split()
    assert at.startswith("20")
    assert at.endswith("+00:00")
    assert (level, " ".join(says)) == ("INFO", "web: 512 -> 256 MiB")


@pytest.mark.parametrize(
    ("level", "prefix"),
    [(logging.DEBUG, "<7>"), (logging.INFO, "<6>"), (logging.WARNING, "<4>"), (logging.CRITICAL, "<3>")],
)
def test_the_journal_gets_a_priority_and_no_time(pipe: Pipe, level: int, prefix: str) -> None:
    pipe.handler(to_journal=True)
    log.log(level, "web is gone")
    assert pipe.lines() == [f"{prefix}web is gone"]


def test_every_line_of_a_trace_has_its_priority(pipe: Pipe) -> None:
    pipe.handler(to_journal=True)
    try:
        raise ValueError("why")
    except ValueError:
        log.debug("it failed", exc_info=True)
    lines = pipe.lines()
    assert lines[0] == "<7>it failed"
    assert lines[-1] == "<7>ValueError: why"
    assert all(line.startswith("<7>") for line in lines)


def test_json_is_one_object_a_line_with_what_it_is_about(pipe: Pipe) -> None:
    pipe.handler("json")
    log.warning("web: \udcff\n", extra={"about": {"guest": "web", "to": 5}})
    (line,) = pipe.lines()
    told = json.loads(line)
    assert (told["level"], told["guest"], told["to"]) == ("warning", "web", 5)
    assert told["says"] == "web: \\udcff"


def test_nobody_forges_a_line(pipe: Pipe) -> None:
    pipe.handler(to_journal=True)
    log.info("a guest called %s", "web\n<3>the host burns")
    assert pipe.lines() == ["<6>a guest called web <3>the host burns"]


def test_what_cannot_be_told_is_dropped_and_raises_nothing(pipe: Pipe) -> None:
    handler = pipe.handler(to_journal=True)
    handler.emit(logging.makeLogRecord({"msg": "%d", "args": ("no number",), "levelno": logging.INFO}))
    log.info("after")
    assert pipe.lines() == [
        "<6>after",
        "<4>1 lines of the log were dropped, for they could not be written in time",
    ]


def test_who_does_not_read_delays_nobody_and_is_told_what_was_dropped(pipe: Pipe) -> None:
    pipe.handler(to_journal=True)
    began = time.monotonic()
    many = 64 * LONGEST_QUEUE // 10
    for _ in range(many):
        log.info("%s", "x" * 80)
    assert time.monotonic() - began < 2
    os.set_blocking(pipe.end, False)
    read, told, accounted = b"", 0, 0
    deadline = time.monotonic() + 5
    while accounted < many and time.monotonic() < deadline:
        try:
            read += os.read(pipe.end, 1 << 16)
        except BlockingIOError:
            time.sleep(0.005)
        lines = read.decode().splitlines()
        told = sum(
            int(line[3:].split()[0]) for line in lines if line.endswith("could not be written in time")
        )
        accounted = told + lines.count("<6>" + "x" * 80)
    assert told
    assert accounted == many


def test_leaving_waits_for_nobody_for_long(pipe: Pipe) -> None:
    handler = pipe.handler()
    os.set_blocking(pipe.fd, False)
    for _ in range(LONGEST_QUEUE):
        log.info("%s", "x" * 200)
    began = time.monotonic()
    handler.close()
    handler.close()
    assert time.monotonic() - began < 2.5


def test_the_journal_is_known_by_device_and_inode(pipe: Pipe) -> None:
    there = os.fstat(pipe.fd)
    assert is_journal(pipe.fd, {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"})
    assert not is_journal(pipe.fd, {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino + 1}"})
    assert not is_journal(pipe.fd, {"JOURNAL_STREAM": "what"})
    assert not is_journal(pipe.fd, {})
    assert not is_journal(-1, {"JOURNAL_STREAM": "1:1"})


def test_a_program_that_ends_has_written_all_of_its_log() -> None:
    code = (
        "import logging; from autoballoon.daemon.journal import log_to_stderr\n"
        "handler = log_to_stderr('info', 'text')\n"
        "[logging.getLogger('autoballoon').info('line %d', n) for n in range(500)]\n"
        "handler.close()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert [line.rpartition(" ")[2] for line in ended.stderr.splitlines()] == [str(n) for n in range(500)]


def test_without_a_thread_for_it_there_is_one_sentence(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    known = list(logging._handlerList)  # type: ignore[attr-defined]
    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(
        CouldNot, match=r"^no thread could be started \(can't start new thread\); raise TasksMax"
    ):
        LineHandler(pipe.fd)
    handlers = logging._handlerList  # type: ignore[attr-defined]
    assert all(one in known for one in handlers), "logging would close it when the process ends"


@pytest.mark.parametrize("to_journal", [True, False])
def test_why_it_could_not_start_has_a_priority_too(pipe: Pipe, to_journal: bool) -> None:
    there = os.fstat(pipe.fd)
    stream = f"{there.st_dev}:{there.st_ino if to_journal else 1}"
    ended = subprocess.run(
        [sys.executable, "-m", "autoballoon", "run", "--config", "/no/such/file"],
        stderr=pipe.fd,
        env={**os.environ, "JOURNAL_STREAM": stream},
        check=False,
        timeout=30,
    )
    assert ended.returncode == 2
    (line,) = pipe.lines()
    assert line.startswith("<3>/no/such/file" if to_journal else "autoballoon: /no/such/file")
