"""What a lab notes about itself, and what is removed by it. No real group, swap or guest is made."""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.lab import tidy
from autoballoon.lab.processes import Identity, identify

DEAD = Identity(pid=2**22 + 1, started=1, boot="no such boot")


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Files can be made, as on a full disk, but nothing can be written to them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_folder_of_the_guests_disks_is_removed_with_the_rest(tmp_path: Path) -> None:
    note = tidy.begin(tmp_path, tmp_path / "notes")
    scratch = tmp_path / f"scratch-{os.getpid()}"
    scratch.mkdir()
    (scratch / "guest-0.swap").write_bytes(b"x")
    assert f"removed the folder {scratch}" in note.remove_all()
    assert not scratch.exists()
    assert not note.path.exists()


def test_what_a_lab_has_not_removed_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not tidy.remains(tmp_path / "notes")
    note = tidy.begin(tmp_path, tmp_path / "notes")
    Path(note.run).touch()  # no folder: rmtree cannot remove it
    note.remove_all()
    assert tidy.remains(tmp_path / "notes")
    Path(note.run).unlink()
    note.remove_all()
    assert not tidy.remains(tmp_path / "notes")


def test_a_note_that_knows_no_such_folder_removes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a lab of an older version left it: an empty path would be the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "precious").touch()
    notes = tmp_path / "notes"
    notes.mkdir()
    old = {
        "owner": DEAD,
        "group": "autoballoon-lab-x",
        "swap": str(tmp_path / "swap"),
        "run": str(notes / "x"),
    }
    (notes / "x.json").write_bytes(msgspec.json.encode(old))
    assert tidy.sweep(notes) == []
    assert (tmp_path / "precious").exists()
    assert not (notes / "x.json").exists()


def test_the_note_of_a_lab_that_runs_is_left_alone(tmp_path: Path) -> None:
    assert identify(os.getpid()) is not None
    note = tidy.begin(tmp_path, tmp_path / "notes")
    assert tidy.sweep(tmp_path / "notes") == []
    assert note.path.exists()


def test_a_note_that_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        no_room(),
        pytest.raises(CouldNot, match=r"cannot write its note .*; it needs root and room in /run"),
    ):
        tidy.begin(tmp_path, tmp_path / "notes")
    assert list((tmp_path / "notes").iterdir()) == []


def test_a_lab_that_looks_for_others_never_sees_half_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_slowly(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            assert tidy.sweep(tmp_path / "notes") == []
            return file.write(content)

    monkeypatch.setattr(Path, "write_bytes", write_slowly)
    note = tidy.begin(tmp_path, tmp_path / "notes")
    assert list((tmp_path / "notes").iterdir()) == [note.path]


def test_a_note_that_may_not_be_removed_is_one_sentence(tmp_path: Path) -> None:
    """A folder of its name stands for it: root may remove any file."""
    (tmp_path / "x.json").mkdir()
    says = f"could not remove the note {tmp_path}/x.json (Is a directory); run the lab as root"
    assert tidy.sweep(tmp_path) == [says]
    note = tidy.Note(
        owner=DEAD, group="autoballoon-lab-x", swap=str(tmp_path / "swap"), run=str(tmp_path / "x")
    )
    assert note.remove_all() == [says]
