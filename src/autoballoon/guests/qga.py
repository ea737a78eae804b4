"""What a guest's qemu-guest-agent lets be read of its memory: seldom, in the background, and waited for by nobody.

The socket is held only while files are read: others use it too. The guest may answer anything, or never.
"""

import asyncio
import base64
import errno
import secrets
import zlib
from collections.abc import Callable

import msgspec

from autoballoon.core.model import Guest
from autoballoon.guests.agent_line import Heard
from autoballoon.guests.qga_files import FILES, MEMINFO, word_of
from autoballoon.guests.sockets import way_to
from autoballoon.views.agents import QGA_SILENT_S, AgentStatus

EVERY_S, SELDOM_S = 5.0, 60.0
"""Between two readings: where they come; and at most, where they do not."""
PATIENCE_S = 10.0
"""For one reading: a guest that thrashes takes half a second. A file that was being opened when a reading was given up
may stay open in the guest."""
LONGEST_FILE = 16 << 10
"""Bytes of a file that are asked for: /proc/vmstat has 5 KiB or so."""
LONGEST_LINE, LONGEST = 64 << 10, 256 << 10
"""Bytes of an answer, and of all that is said in one reading, ..."""
PIECE, PART_COSTS = 16 << 10, 1 << 10
"""... that is taken in pieces. Each piece and each line counts for so many bytes more: the shortest takes its time too
(128 KiB of empty lines took 0.3 s, and bytes that come one by one wake us for each)."""


class Unfit(Exception):
    """No answer of qemu-guest-agent, or too much of it."""


class _Refused(Exception):
    """It does not let files be read."""


class _Reply(msgspec.Struct):
    result: msgspec.Raw = msgspec.field(name="return", default=msgspec.Raw(b"null"))


class _Content(msgspec.Struct):
    text: str = msgspec.field(name="buf-b64")


FAILURES = (OSError, TimeoutError, ValueError, RecursionError, msgspec.DecodeError, Unfit)
"""ValueError: no base64."""


class Qga:
    """The qemu-guest-agent behind one socket, as long as the socket exists. `run` is its task.

    It is asked only while `guest` is set, and runs: that is for whoever knows a better source to leave out.
    """

    def __init__(
        self, path: str, stem: str, clock: Callable[[], float], every_s: float | None = None
    ) -> None:
        self.path = path
        self.stem = stem
        self.heard = Heard()
        self.taken = self.dropped = 0
        """Readings."""
        self.trouble: str | None = None
        self.guest: Guest | None = None
        self._clock = clock
        self._every_s = EVERY_S if every_s is None else every_s

    async def run(self) -> None:
        """Read again and again; until cancelled."""
        wait_s = self._every_s * (zlib.crc32(self.path.encode()) % 1000) / 1000  # not all at once
        while True:
            await asyncio.sleep(wait_s)
            guest = self.guest
            if guest is None or not guest.running:
                wait_s = self._every_s
                continue
            is_well = await self._read(guest)
            wait_s = self._every_s if is_well else min(max(2 * wait_s, self._every_s), SELDOM_S)

    @property
    def is_fresh(self) -> bool:
        """Whether its last word is young enough to be believed."""
        return self.heard.word is not None and self._clock() - self.heard.at < QGA_SILENT_S

    def status(self) -> AgentStatus:
        """How it is, for people."""
        age_s = None if self.heard.word is None else round(self._clock() - self.heard.at, 3)
        return AgentStatus(age_s=age_s, lines=self.taken, dropped=self.dropped, through="qga")

    async def _read(self, guest: Guest) -> bool:
        """One reading; whether there is something to be read."""
        asked_at = self._clock()
        try:
            async with asyncio.timeout(PATIENCE_S):
                files = await read_files(self.path)
        except _Refused:
            self.trouble = (
                "does not let files be read; allow guest-file-open, guest-file-read and guest-file-close"
            )
            return False
        except FAILURES as error:
            self.trouble = _trouble(error)
            self.dropped += not isinstance(error, OSError | TimeoutError)
            return False
        self.trouble = None
        word = word_of(files, self.taken + 1)
        if word is None or not word.suits(guest.max):
            self.dropped += 1
            return False
        self.taken += 1
        self.heard.take(word, asked_at)  # as old as the question
        return True


def _trouble(error: BaseException) -> str | None:
    """A sentence where somebody on the host can mend it."""
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
        return f"cannot be connected to ({error.strerror}); run autoballoon as root or as the socket's group"
    return None


async def read_files(socket: str) -> dict[str, bytes]:
    """The guest's FILES by their path, those that it has. _Refused, or one of FAILURES.

    One after the other, each told to be closed as it is read: a reading that is given up leaves one open at most.
    """
    with way_to(socket) as address:
        reader, writer = await asyncio.open_unix_connection(address)
    files = {}
    try:
        talk = _Talk(reader, writer)
        await talk.begin()
        for path in FILES:
            (opened,) = await talk.ask(_command("guest-file-open", path=path))
            if opened is None and path == MEMINFO:
                raise _Refused
            if opened is None:
                continue
            handle = msgspec.json.decode(opened, type=int)
            read = _command("guest-file-read", handle=handle, count=LONGEST_FILE)
            content, _ = await talk.ask(read, _command("guest-file-close", handle=handle))
            if content is not None:
                text = msgspec.json.decode(content, type=_Content).text
                files[path] = base64.b64decode(text, validate=True)
    finally:
        writer.transport.abort()
    return files


def _command(name: str, **arguments: object) -> bytes:
    return msgspec.json.encode({"execute": name, "arguments": arguments}) + b"\n"


class _Talk:
    """One conversation, bounded in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._left = LONGEST
        self._begun = b""

    async def begin(self) -> None:
        """Pass over what an earlier client left unread: our first answer comes after a byte that is in no JSON."""
        number = secrets.randbelow(1 << 31)
        self._writer.write(b"\xff" + _command("guest-sync-delimited", id=number))
        await self._writer.drain()
        while True:
            _, mark, line = (await self._line()).rpartition(b"\xff")
            if mark and _result(line) == b"%d" % number:
                return

    async def ask(self, *commands: bytes) -> list[bytes | None]:
        """The results, one for each command; None where it was refused."""
        self._writer.write(b"".join(commands))
        await self._writer.drain()
        found = [_result(await self._line()) for _ in commands]
        return [None if one == b"null" else one for one in found]

    async def _line(self) -> bytes:
        while b"\n" not in self._begun:
            received = await self._reader.read(PIECE)
            self._begun += received
            self._spend(len(received) + PART_COSTS)
            if not received or len(self._begun) > LONGEST_LINE:
                raise Unfit
        line, _, self._begun = self._begun.partition(b"\n")
        self._spend(PART_COSTS)
        return line

    def _spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise Unfit


def _result(line: bytes) -> bytes:
    return bytes(msgspec.json.decode(line, type=_Reply).result)
