"""Where results are kept: one folder per call of `lab run`, never written over."""

import datetime
import shutil
from pathlib import Path
from typing import TypeVar

import msgspec

from autoballoon.lab.writing import OUT, writing
from autoballoon.views.lab_results import Results, Sample, Told

_Line = TypeVar("_Line", Sample, Told)


def new_folder(out: Path, experiment: str, day: datetime.date) -> Path:
    """Make out/EXPERIMENT-DATE-N with the first N that is free. CouldNot when it cannot be made."""
    with writing(out, OUT):
        out.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            folder = out / f"{experiment}-{day:%Y%m%d}-{number}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1


def write(folder: Path, results: Results) -> None:
    """Write results.json, whole or not at all. CouldNot when the disk is full."""
    _replace(folder / "results.json", msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def write_page(folder: Path, page: str) -> Path:
    """Write report.html, whole or not at all; its path. CouldNot when the disk is full."""
    _replace(folder / "report.html", page.encode())
    return folder / "report.html"


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_suffix(".new")
    with writing(path, OUT):
        try:
            aside.write_bytes(content)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def read(folder: Path) -> Results:
    """What `write` wrote."""
    return msgspec.json.decode((folder / "results.json").read_bytes(), type=Results)


def read_samples(folder: Path) -> list[Sample]:
    """Every sample of every run, in the order they were taken; none when nothing was sampled."""
    return _read_lines(folder / "samples.jsonl", Sample)


def read_told(folder: Path) -> list[Told]:
    """What the controllers told, tick by tick."""
    return _read_lines(folder / "decisions.jsonl", Told)


def _read_lines(path: Path, kind: type[_Line]) -> list[_Line]:
    return msgspec.json.Decoder(kind).decode_lines(path.read_bytes()) if path.exists() else []


def discard(folder: Path) -> None:
    """Remove a folder in which no run was finished."""
    shutil.rmtree(folder, ignore_errors=True)


class Lines:
    """One JSON value a line, appended to a file. CouldNot when the disk is full."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, value: Sample | Told) -> None:
        """Write one line."""
        with writing(self._path, OUT), self._path.open("ab") as file:
            file.write(msgspec.json.encode(value) + b"\n")
