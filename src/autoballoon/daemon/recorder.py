"""Recordings: what the daemon told, one tick a line, compressed; docs/reference/recordings.md.

A file is gzip members one after the other, each written when it is whole: a crash loses at most the last one. It is
bounded: at half its limit it becomes FILE.1, and a new one begins. Reading trusts nothing: lines are bounded, each
snapshot is checked as a plan's is, and a file that ends or breaks in the middle is used up to there.
"""

import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.model import AnyDecision, Reason, Resume, SetTarget, Snapshot, Stay, Suspend
from autoballoon.core.snapshot_json import LARGEST_SIZE, read_snapshot
from autoballoon.views.status import DaemonStatus, Told

VERSION = 1
LONGEST_LINE = 16 << 20
"""Bytes; a thousand guests take about one million."""
MEMBER_LINES, MEMBER_BYTES = 60, 4 << 20
"""A member is written after so many ticks, or so many bytes before compression."""
LEAST_LIMIT = 1 << 20
GZIP = 31
"""zlib's wbits for one gzip member, its header and check included."""
_CHUNK = 1 << 16
_MAGIC = b"\x1f\x8b"


class Line(msgspec.Struct, frozen=True):
    """One tick, as it stands in the file."""

    v: int
    at: float
    """When it was written down: seconds since 1970."""
    daemon: DaemonStatus
    snapshot: msgspec.Raw
    decisions: tuple[Told, ...]


class Moment(msgspec.Struct, frozen=True):
    """One tick of a recording, checked."""

    at: float
    """Seconds since 1970."""
    now: float
    """The daemon's monotonic clock."""
    daemon: DaemonStatus
    snapshot: Snapshot
    decisions: tuple[AnyDecision, ...]
    """What was decided, as far as this version knows it; of guests in the snapshot only."""
    told: tuple[Told, ...]


class _Status(msgspec.Struct, frozen=True):
    daemon: DaemonStatus
    snapshot: msgspec.Raw
    decisions: tuple[Told, ...]


class Writer:
    """Writes a recording to `path`; a file that is there already becomes FILE.1. CouldNot when it cannot be written."""

    def __init__(self, path: Path, limit: int, wall: Callable[[], float] = time.time) -> None:
        """`limit`: bytes that FILE and FILE.1 take together at most, but for one member."""
        self.path = path
        self.lines = 0
        self.written = 0
        """Bytes of all members so far."""
        self._half = max(LEAST_LIMIT, limit) // 2
        self._wall = wall
        self._file: IO[bytes] | None = None
        self._size = 0
        self._member: list[bytes] = []
        self._open()

    def add(self, status: bytes | msgspec.Raw) -> None:
        """Write down a status as the daemon tells it."""
        told = msgspec.json.decode(status, type=_Status)
        few = tuple(msgspec.structs.replace(one, says="") for one in told.decisions)
        line = Line(VERSION, round(self._wall(), 3), told.daemon, told.snapshot, few)
        self._member.append(msgspec.json.encode(line) + b"\n")
        self.lines += 1
        if len(self._member) >= MEMBER_LINES or sum(map(len, self._member)) >= MEMBER_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is still missing."""
        if self._file is not None:
            try:
                self._flush()
            finally:
                self._file.close()
                self._file = None

    def _open(self) -> None:
        try:
            if self.path.exists():
                self.path.replace(self.path.with_name(self.path.name + ".1"))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.fdopen(os.open(self.path, flags, 0o640), "wb", buffering=0)
        except OSError as error:
            raise self._cannot(error) from None
        self._size = 0

    def _flush(self) -> None:
        if not self._member or self._file is None:
            return
        packer = zlib.compressobj(6, zlib.DEFLATED, GZIP)
        member = b"".join([*map(packer.compress, self._member), packer.flush()])
        if self._size and self._size + len(member) > self._half:
            self._file.close()
            self._open()
        self._member = []
        try:
            sent = 0
            while sent < len(member):
                sent += self._file.write(member[sent:])
        except OSError as error:
            os.ftruncate(self._file.fileno(), self._size)  # whole members only
            raise self._cannot(error) from None
        self._size += len(member)
        self.written += len(member)

    def _cannot(self, error: OSError) -> CouldNot:
        return CouldNot(
            f"{self.path}: the recording cannot be written ({error.strerror}); make room, or give another FILE"
        )


class Recording:
    """A recording to be read, once, from its beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut_off: str | None = None
        """Why not all of the file was read, when it has been read."""

    def __iter__(self) -> Iterator[Moment]:
        """The moments in order, as far as they can be used. BadInput when none of it can be."""
        number = 0
        try:
            for line in self._lines():
                moment = self._moment(line, number + 1)
                number += 1
                yield moment
        except BadInput as error:
            if not number:
                raise
            self.cut_off = str(error).removeprefix(f"{self.path}: ")
        if not number:
            why = f" ({self.cut_off})" if self.cut_off else ""
            raise BadInput(f"{self.path}: holds no recording{why}; give what `autoballoon record` wrote")

    def _moment(self, line: bytes, number: int) -> Moment:
        place = f"{self.path}: line {number}"
        try:
            read = msgspec.json.decode(line, type=Line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadInput(f"{place}: is no tick of a recording ({error!s:.200})") from None
        if read.v != VERSION:
            raise BadInput(f"{place}: is of version {read.v}, and this autoballoon knows {VERSION}")
        if not 0 <= read.daemon.tick.at_s < 1e10 or not 0 <= read.at < 1e11:
            raise BadInput(f"{place}: its time cannot be")
        if not 0 <= read.daemon.account.reserve < LARGEST_SIZE:
            raise BadInput(f"{place}: its reserve cannot be")
        try:
            snapshot = read_snapshot(bytes(read.snapshot)).snapshot
        except BadInput as error:
            raise BadInput(f"{place}: {error}") from None
        keys = {guest.name: guest.key for guest in snapshot.guests}
        decided = (decision_of(told, keys[told.guest]) for told in read.decisions if told.guest in keys)
        return Moment(
            read.at,
            read.daemon.tick.at_s,
            read.daemon,
            snapshot,
            tuple(filter(None, decided)),
            read.decisions,
        )

    def _lines(self) -> Iterator[bytes]:
        rest: list[bytes] = []
        length = 0
        for piece in self._pieces():
            *whole, last = piece.split(b"\n")
            for line in whole:
                yield b"".join([*rest, line])
                rest, length = [], 0
            rest.append(last)
            length += len(last)
            if length > LONGEST_LINE:
                raise BadInput(
                    f"{self.path}: has a line of more than {LONGEST_LINE >> 20} MiB; this is no recording"
                )
        if length:
            self.cut_off = self.cut_off or "its last line is not whole"

    def _pieces(self) -> Iterator[bytes]:
        """What is in the file, uncompressed, in pieces of bounded size."""
        try:
            with self.path.open("rb") as file:
                if file.read(2) != _MAGIC:
                    file.seek(0)
                    while piece := file.read(_CHUNK):
                        yield piece
                    return
                file.seek(0)
                yield from self._unpacked(file)
        except OSError as error:
            raise BadInput(
                f"{self.path}: cannot be read ({error.strerror}); give an existing file that you may read"
            ) from None

    def _unpacked(self, file: IO[bytes]) -> Iterator[bytes]:
        unpacker, packed = zlib.decompressobj(GZIP), b""
        while True:
            packed = packed or file.read(_CHUNK)
            if not packed:
                if unpacker is not None and not unpacker.eof:
                    self.cut_off = "its end is missing"
                return
            if unpacker.eof:
                unpacker = zlib.decompressobj(GZIP)
            try:
                piece = unpacker.decompress(packed, _CHUNK)
            except zlib.error:
                self.cut_off = "it is damaged"
                return
            packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            if piece:
                yield piece


def decision_of(told: Told, key: str) -> AnyDecision | None:
    """The decision that was told so; None when this version knows no such."""
    try:
        reason = Reason(told.reason)
    except ValueError:
        return None
    common = (key, told.guest, reason, dict(told.numbers))
    sizes = [size for size in (told.before, told.size) if size is not None and 0 <= size < LARGEST_SIZE]
    if told.kind == "set-target" and len(sizes) == 2:
        return SetTarget(*common, before=sizes[0], size=sizes[1])
    if told.kind == "stay" and sizes:
        return Stay(*common, size=sizes[-1])
    if told.kind == "suspend":
        return Suspend(*common)
    return Resume(*common) if told.kind == "resume" else None
