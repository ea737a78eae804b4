"""The log: lines on standard error, written by a thread of their own, so that a full pipe or disk delays no tick."""

import contextlib
import logging
import os
import queue
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

from autoballoon.host.apart import begin

LONGEST_QUEUE = 1000
"""Lines that may wait to be written; more are dropped, and how many is told."""
CLOSE_S = 0.5
"""How long the last lines may take when we leave."""
_RETRY_S = 0.05

Form = Literal["text", "json"]

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class LineHandler(logging.Handler):
    """Hands finished lines to a thread that writes them to the file descriptor `fd`; never waits."""

    def __init__(self, fd: int, form: Form = "text", *, to_journal: bool = False) -> None:
        """`to_journal`: the journal reads `fd`; it knows the time, and the level by a prefix (sd-daemon(3)).

        CouldNot when there is no thread for it.
        """
        self._fd = fd
        self._form = form
        self.to_journal = to_journal
        self._lines: queue.Queue[bytes | None] = queue.Queue(LONGEST_QUEUE)
        self._dropped = 0
        """So far; counted under the handler's lock, and read by the writer."""
        self._told = 0
        """Of those, how many the writer has told of; nobody else changes it, so that no count is lost between them."""
        self._leaving = False
        self._writer = begin(self._write_all, "log")
        super().__init__()  # from now on logging closes it when the process ends

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record, or count it as dropped."""
        try:
            self._lines.put_nowait(self._line(record))
        except Exception:  # the queue is full, or the record cannot be told: a log is no reason to fail
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, for CLOSE_S at most. Safe to call twice."""
        self._leaving = True
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
        self._writer.join(CLOSE_S)
        super().close()

    def _line(self, record: logging.LogRecord) -> bytes:
        says = " ".join(record.getMessage().splitlines())
        trace = ""
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        if self._form == "json":
            about = getattr(record, "about", None) or {}
            fields = {"time": at, "level": record.levelname.lower(), "says": says} | about
            fields |= {"trace": trace} if trace else {}
            lines = [msgspec.json.encode(_clean(fields)).decode()]
        elif self.to_journal:
            lines = [says, *trace.splitlines()]
        else:
            lines = [f"{at} {record.levelname} {says}", *trace.splitlines()]
        if self.to_journal:
            level = next((number for least, number in _PRIORITIES if record.levelno >= least), 7)
            lines = [f"<{level}>{line}" for line in lines]
        return "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)
            count = self._dropped - self._told
            if count and self._lines.qsize() < LONGEST_QUEUE // 2:
                self._told += count
                says = f"{count} lines of the log were dropped, for they could not be written in time"
                self._write(self._line(logging.makeLogRecord(_warning(says))))

    def _write(self, line: bytes) -> None:
        while line:
            try:
                line = line[os.write(self._fd, line) :]
            except BlockingIOError:
                if self._leaving:
                    return
                time.sleep(_RETRY_S)
            except OSError:
                return  # nobody reads it any more


def is_journal(fd: int, environment: Mapping[str, str]) -> bool:
    """Whether the journal reads this file descriptor: $JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        there = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(there.st_dev), str(there.st_ino))


def log_to_stderr(level: str, form: Form) -> LineHandler:
    """Send the log to standard error; close the handler at the end."""
    handler = LineHandler(2, form, to_journal=is_journal(2, os.environ))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    if level != "debug":
        logging.getLogger("qemu").setLevel(logging.CRITICAL)  # what matters of it we say ourselves
    return handler


def _warning(says: str) -> dict[str, object]:
    return {"msg": says, "levelno": logging.WARNING, "levelname": "WARNING"}


def _clean(fields: dict[str, object]) -> dict[str, object]:
    """Text that came with bytes which are no UTF-8 (file names) cannot be JSON as it is."""
    return {
        name: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for name, value in fields.items()
    }
