"""The cache: entries are whole or not there, whatever happens while they are made."""

import errno
import os
from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.lab import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOBALLOON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Maker:
    """Makes an entry of one file, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0
        self.said: list[str] = []

    def make(self, aside: Path) -> None:
        self.calls += 1
        (aside / "content").write_text("whole")

    def entry(self) -> Path:
        return cache.entry("thing-1", self.make, self.said.append, making="making it")


def test_an_entry_is_made_once(folder: Path) -> None:
    maker = Maker()
    assert maker.entry() == maker.entry() == folder / "thing-1"
    assert maker.calls == 1
    assert maker.said == ["making it"]


@pytest.mark.parametrize("damage", ["truncated", "file gone", "sizes gone", "sizes damaged"])
def test_a_damaged_entry_is_made_again_and_said_so(folder: Path, damage: str) -> None:
    maker = Maker()
    made = maker.entry()
    sizes = made / ".sizes.json"
    match damage:
        case "truncated":
            (made / "content").write_text("wh")
        case "file gone":
            (made / "content").unlink()
        case "sizes gone":
            sizes.unlink()
        case _:
            sizes.write_text("[1")
    assert (maker.entry() / "content").read_text() == "whole"
    assert maker.calls == 2
    assert f"{made} is damaged; making it again" in maker.said


def test_a_full_disk_is_one_sentence_and_leaves_nothing(folder: Path) -> None:
    def make(aside: Path) -> None:
        (aside / "content").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(CouldNot, match=r"thing-1 cannot be made \(No space left on device\); make room"):
        cache.entry("thing-1", make, print, making="making it")
    assert list(folder.iterdir()) == []


def test_a_tool_that_fails_leaves_nothing(folder: Path) -> None:
    def make(aside: Path) -> None:
        raise CouldNot("gcc is not installed")

    with pytest.raises(CouldNot, match="gcc is not installed"):
        cache.entry("thing-1", make, print, making="making it")
    assert list(folder.iterdir()) == []


def test_what_a_killed_maker_left_is_removed(folder: Path) -> None:
    nobody = folder / f".thing-1.{os.getpid()}-1"  # this pid, but of a process that began earlier
    nobody.mkdir(parents=True)
    Maker().entry()
    assert [path.name for path in folder.iterdir()] == ["thing-1"]


def test_one_that_another_process_made_meanwhile_is_taken(folder: Path) -> None:
    def make(aside: Path) -> None:
        (aside / "content").write_text("ours")
        (folder / "thing-1").mkdir()
        (folder / "thing-1" / "content").write_text("theirs")

    made = cache.entry("thing-1", make, print, making="making it")
    assert (made / "content").read_text() == "theirs"


def test_a_cache_folder_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUTOBALLOON_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CouldNot, match="point AUTOBALLOON_CACHE at one you may write"):
        cache.cache_folder()
