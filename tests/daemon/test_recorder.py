"""Recordings: what is written is read back; what is broken, hostile or too much is bounded and told."""

import errno
import gzip
import os
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoballoon.core.errors import AutoballoonError, BadInput, CouldNot
from autoballoon.core.model import Guest, Host, Reason, Resume, SetTarget, Snapshot, Stay, Suspend
from autoballoon.core.pool import Account
from autoballoon.core.units import GIB, MIB
from autoballoon.daemon.recorder import LONGEST_LINE, MEMBER_LINES, Recording, Writer, decision_of
from autoballoon.views.status import DaemonStatus, Status, Tick, Told, books, encode, tell

ACCOUNT = Account(capacity=4 * GIB, available=GIB, reserve=200 * MIB, other=0, pool=3 * GIB, charges=2 * GIB)


def status(tick: int, *, pid: int = 1, guests: int = 2) -> bytes:
    """What a daemon tells at a tick."""
    daemon = DaemonStatus(
        version="0.1.0", pid=pid, policy="ladder", dry_run=False, interval_s=1.0, up_s=1.0 * tick,
        tick=Tick(tick, "interval", 0.0, 0.001, 1000.0 + tick), account=books(ACCOUNT),
    )  # fmt: skip
    seen = tuple(
        Guest(f"/run/g{n}.qmp", f"g{n}", GIB, GIB, available=500 * MIB + tick) for n in range(guests)
    )
    decided = tell(
        [
            SetTarget(g.key, g.name, Reason.TAKE_SURPLUS, {"need": tick}, before=GIB, size=GIB // 2)
            for g in seen
        ]
    )
    return encode(Status(daemon, Snapshot(Host(4 * GIB, GIB), seen), decided))


def written(path: Path, ticks: int = 5) -> Path:
    writer = Writer(path, 64 * MIB, wall=lambda: 1.7e9)
    for tick in range(ticks):
        writer.add(status(tick))
    writer.close()
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    recording = Recording(written(tmp_path / "r.gz", 2 * MEMBER_LINES + 3))
    moments = list(recording)
    assert recording.cut_off is None
    assert [moment.now for moment in moments] == [1000.0 + tick for tick in range(2 * MEMBER_LINES + 3)]
    last = moments[-1]
    assert last.at == 1.7e9
    assert last.daemon.policy == "ladder"
    assert [guest.available for guest in last.snapshot.guests] == [500 * MIB + 122] * 2
    assert last.decisions[0] == SetTarget(
        "/run/g0.qmp", "g0", Reason.TAKE_SURPLUS, {"need": 122}, before=GIB, size=GIB // 2
    )
    assert b'"says":""' in gzip.decompress(
        (tmp_path / "r.gz").read_bytes()
    )  # the sentence follows from the rest


def test_it_is_compact(tmp_path: Path) -> None:
    raw = len(status(1)) * 60
    assert written(tmp_path / "r.gz", 60).stat().st_size < raw / 10


def test_a_crash_loses_at_most_the_last_member(tmp_path: Path) -> None:
    path = tmp_path / "r.gz"
    writer = Writer(path, 64 * MIB)
    for tick in range(MEMBER_LINES + 30):
        writer.add(status(tick))
    assert len(list(Recording(path))) == MEMBER_LINES  # as it is on the disk now
    whole = written(tmp_path / "s.gz", 3 * MEMBER_LINES).read_bytes()
    torn = tmp_path / "t.gz"
    torn.write_bytes(whole[:-20])
    recording = Recording(torn)
    assert len(list(recording)) >= 2 * MEMBER_LINES
    assert recording.cut_off == "its end is missing"
    torn.write_bytes(whole[:-200] + b"\0" * 180 + whole[-20:])
    recording = Recording(torn)
    assert len(list(recording)) >= 2 * MEMBER_LINES
    assert recording.cut_off is not None


def test_it_is_bounded_and_rotated(tmp_path: Path) -> None:
    path = tmp_path / "r.gz"
    writer = Writer(path, MIB)
    for tick in range(300):
        line = msgspec.json.decode(status(tick))
        line["daemon"]["version"] = os.urandom(10_000).hex()  # nothing that packs well
        writer.add(msgspec.json.encode(line))
    writer.close()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["r.gz", "r.gz.1"]
    assert sum(one.stat().st_size for one in tmp_path.iterdir()) <= MIB + MIB // 2
    old, new = (list(Recording(tmp_path / name)) for name in ("r.gz.1", "r.gz"))
    assert old[-1].now + 1 == new[0].now
    assert new[-1].now == 1299.0


def test_a_file_that_is_there_is_kept_aside_and_a_link_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "r.gz"
    path.write_text("mine")
    written(path)
    assert (tmp_path / "r.gz.1").read_text() == "mine"
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CouldNot, match="cannot be written"):
        Writer(link, MIB)
    with pytest.raises(CouldNot, match="cannot be written"):
        Writer(tmp_path / "no" / "folder", MIB)


class FullDisk:
    """A file on a disk that has no more room after `left` bytes."""

    def __init__(self, file: Any, left: int) -> None:
        self._file, self.left = file, left

    def write(self, data: bytes) -> int:
        if not self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sent = self._file.write(data[: self.left])
        self.left -= sent
        return int(sent)

    def fileno(self) -> int:
        return int(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def test_a_full_disk_is_one_sentence_and_what_was_written_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.gz"
    writer = Writer(path, 64 * MIB)
    for tick in range(MEMBER_LINES):
        writer.add(status(tick))
    writer._file = FullDisk(writer._file, 100)  # type: ignore[assignment]
    with pytest.raises(
        CouldNot, match=r"r.gz: the recording cannot be written \(No space left on device\); make room"
    ):
        for tick in range(MEMBER_LINES):
            writer.add(status(tick))
    writer.close()
    recording = Recording(path)
    assert len(list(recording)) == MEMBER_LINES
    assert recording.cut_off is None


def test_plain_lines_are_a_recording_too(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(gzip.decompress(written(tmp_path / "r.gz").read_bytes()))
    assert len(list(Recording(path))) == 5


LINE = msgspec.json.decode(
    msgspec.json.encode(
        {"v": 1, "at": 1.7e9} | msgspec.json.decode(status(1))
    )
)  # fmt: skip


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no recording"),
        (b"hello\n", "line 1: is no tick of a recording"),
        (b"{}\n", "line 1: is no tick of a recording"),
        (b"\xff\xff\n", "line 1: is no tick of a recording"),
        (b"[" * 100_000 + b"\n", "line 1: is no tick of a recording"),
        (msgspec.json.encode(LINE | {"v": 2}) + b"\n", "is of version 2"),
        (msgspec.json.encode(LINE | {"at": -1}) + b"\n", "its time cannot be"),
        (
            msgspec.json.encode(LINE | {"snapshot": {"host": {}, "guests": []}}) + b"\n",
            "line 1: host has no `capacity`",
        ),
        (msgspec.json.encode(LINE | {"snapshot": 5}) + b"\n", "line 1:"),
        (msgspec.json.encode(LINE)[:-5], "its last line is not whole"),
        (b"\x1f\x8b" + b"x" * 100, "it is damaged"),
        (gzip.compress(b"", mtime=0)[:-4], "its end is missing"),
    ],
)
def test_what_is_no_recording_is_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "r"
    path.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        list(Recording(path))
    assert says in str(refused.value)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_what_is_sound_before_a_broken_line_is_used(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(3 * (msgspec.json.encode(LINE) + b"\n") + b"{}\n" + msgspec.json.encode(LINE) + b"\n")
    recording = Recording(path)
    assert len(list(recording)) == 3
    assert recording.cut_off is not None
    assert recording.cut_off.startswith("line 4: is no tick of a recording")


def test_a_bomb_stays_small_in_memory(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    chunk = b"\0" * MIB
    bomb = b"".join([*(packer.compress(chunk) for _ in range(LONGEST_LINE // MIB + 8)), packer.flush()])
    path = tmp_path / "bomb"
    path.write_bytes(bomb)
    assert len(bomb) < 100_000
    with pytest.raises(BadInput, match="has a line of more than 16 MiB"):
        list(Recording(path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.data())
def test_no_damage_to_a_recording_is_a_traceback(tmp_path: Path, place: int, data: st.DataObject) -> None:
    packed = data.draw(st.booleans())
    whole = written(tmp_path / "r.gz", 3).read_bytes()
    raw = bytearray(whole if packed else gzip.decompress(whole))
    for byte in data.draw(st.binary(min_size=1, max_size=4)):
        raw[(place * 7919 + byte) % len(raw)] = byte
    path = tmp_path / "damaged"
    path.write_bytes(raw)
    try:
        for _ in Recording(path):
            pass
    except AutoballoonError as error:
        assert "\n" not in str(error)


def test_decisions_of_all_kinds_and_of_another_version() -> None:
    def told(kind: str, before: int | None, size: int | None, reason: str = "room") -> Told:
        return Told("g", kind, before, size, reason, {}, "")

    assert decision_of(told("stay", 5, 5), "k") == Stay("k", "g", Reason.ROOM, {}, size=5)
    assert decision_of(told("suspend", None, None), "k") == Suspend("k", "g", Reason.ROOM, {})
    assert decision_of(told("resume", None, None), "k") == Resume("k", "g", Reason.ROOM, {})
    assert decision_of(told("set-target", None, 5), "k") is None
    assert decision_of(told("set-target", -1, 5), "k") is None
    assert decision_of(told("dance", 5, 5), "k") is None
    assert decision_of(told("stay", 5, 5, reason="mood"), "k") is None
