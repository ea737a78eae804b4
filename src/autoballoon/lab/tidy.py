"""What a lab has made, noted before it is made, so that it can be removed: by the lab itself, or by the next one.

The note is /run/autoballoon-lab/PID.json; a lab that was killed with -9 leaves it, and sweep() finds it.
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from autoballoon.core.errors import CouldNot
from autoballoon.lab.group import Group
from autoballoon.lab.processes import Identity, identify
from autoballoon.lab.swap import SwapFile

NOTES = Path("/run/autoballoon-lab")


class Note(msgspec.Struct, frozen=True):
    """Everything one lab makes outside the cache, all named after its pid."""

    owner: Identity
    group: str
    swap: str
    run: str
    scratch: str = ""
    """The folder of the guests' own disks; empty in the notes of a lab that knew none."""

    @property
    def path(self) -> Path:
        """Where this note is kept."""
        return Path(f"{self.run}.json")

    def _has_scratch(self) -> bool:
        return self.scratch != "" and Path(self.scratch).exists()

    def remove_all(self) -> list[str]:
        """Remove what there is of it, and then the note. The sentences say what was removed and what could not be."""
        said: list[str] = []
        group, swap, folder = Group(self.group), SwapFile(Path(self.swap)), Path(self.run)
        removals: tuple[tuple[str, Callable[[], bool], Callable[[], object]], ...] = (
            (f"the group {group.path}", group.exists, lambda: group.remove(since=self.owner)),
            (f"the swap file {swap.path}", swap.path.exists, swap.remove),
            (f"the folder {folder}", folder.exists, lambda: shutil.rmtree(folder)),
            (f"the folder {self.scratch}", self._has_scratch, lambda: shutil.rmtree(self.scratch)),
        )
        failed = False
        for what, exists, remove in removals:
            try:
                if exists():
                    remove()
                    said.append(f"removed {what}")
            except (OSError, CouldNot) as trouble:
                failed = True
                said.append(f"could not remove {what}: {trouble}")
        if not failed:
            said += _forget(self.path)
        return said


def begin(work: Path, notes: Path = NOTES) -> Note:
    """Note what this process is about to make, its swap file in the folder `work`. CouldNot when that fails."""
    owner = identify(os.getpid())
    assert owner is not None
    name = str(owner.pid)
    note = Note(
        owner=owner, group=f"autoballoon-lab-{name}", swap=str(work / f"swap-{name}"), run=str(notes / name),
        scratch=str(work / f"scratch-{name}"),
    )  # fmt: skip
    aside = note.path.with_suffix(".new")
    try:
        notes.mkdir(parents=True, exist_ok=True)
        # Another lab may sweep just now: it must never see half a note.
        aside.write_bytes(msgspec.json.encode(note))
        aside.rename(note.path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise CouldNot(
            f"the lab cannot write its note {note.path} ({error.strerror}); it needs root and room in /run"
        ) from error
    return note


def remains(notes: Path = NOTES) -> bool:
    """Whether something that this process has made is not removed."""
    return (notes / f"{os.getpid()}.json").exists()


def sweep(notes: Path = NOTES) -> list[str]:
    """Remove what labs that no longer run have left; one sentence for each thing."""
    said: list[str] = []
    for path in sorted(notes.glob("*.json")):
        try:
            note = msgspec.json.decode(path.read_bytes(), type=Note)
        except (OSError, msgspec.DecodeError):
            said += _forget(path)
            continue
        if not note.owner.is_alive:
            said += [f"left by a lab that was killed: {sentence}" for sentence in note.remove_all()]
    return said


def _forget(note: Path) -> list[str]:
    """Remove a note; a sentence where that may not be done."""
    try:
        note.unlink(missing_ok=True)
    except OSError as trouble:
        return [f"could not remove the note {note} ({trouble.strerror}); run the lab as root"]
    return []
