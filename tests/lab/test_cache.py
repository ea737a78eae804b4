"""The cache: entries are whole or not there, whatever happens while they are made."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.lab import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("AUTOBALLOON_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    let_go()


def let_go() -> None:
    """As the end of this process would."""
    for fd in cache._held.values():
        os.close(fd)
    cache._held.clear()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class Maker:
    """Makes an entry of one file, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0
        self.said: list[str] = []

    def make(self, aside: Path) -> None:
        self.calls += 1
        (aside / "content").write_text("whole")

    def entry(self, name: str = "thing-1") -> Path:
        versions = f"{name.partition('-')[0]}-*"
        return cache.entry(name, self.make, self.said.append, making="making it", versions=versions)


def test_an_entry_is_made_once(folder: Path) -> None:
    maker = Maker()
    assert maker.entry() == maker.entry() == folder / "thing-1"
    assert maker.calls == 1
    assert maker.said == ["making it"]


@pytest.mark.parametrize(
    "damage", ["truncated", "file gone", "sizes gone", "sizes damaged", "sizes empty", "a file", "a link"]
)
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
        case "sizes empty":
            sizes.write_text("{}")
        case "a file":
            shutil.rmtree(made)
            made.touch()
        case "a link":
            shutil.rmtree(made)
            made.symlink_to(made.parent / "nowhere")
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
        cache.entry("thing-1", make, print, making="making it", versions="thing-*")
    assert list(folder.iterdir()) == []


def test_a_tool_that_fails_leaves_nothing(folder: Path) -> None:
    def make(aside: Path) -> None:
        raise CouldNot("gcc is not installed")

    with pytest.raises(CouldNot, match="gcc is not installed"):
        cache.entry("thing-1", make, print, making="making it", versions="thing-*")
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

    made = cache.entry("thing-1", make, print, making="making it", versions="thing-*")
    assert (made / "content").read_text() == "theirs"


def test_a_cache_folder_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUTOBALLOON_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CouldNot, match="point AUTOBALLOON_CACHE at one you may write"):
        cache.cache_folder()


def test_older_versions_go_when_a_new_one_is_published_but_for_the_one_used_last(folder: Path) -> None:
    maker = Maker()
    for number, name in enumerate(("thing-1", "thing-2", "thing-3", "other-1")):
        os.utime(maker.entry(name), (number, number))
    maker.entry("thing-1")  # the oldest, and used last
    let_go()
    maker.said.clear()
    maker.entry("thing-4")
    assert names(folder) == {"thing-1", "thing-4", "other-1"}
    assert [says for says in maker.said if says.startswith("removed")] == [
        f"removed thing-{number} from the cache: an older version that nobody uses" for number in (3, 2)
    ]


def test_one_that_is_there_already_removes_nothing(folder: Path) -> None:
    maker = Maker()
    for name in ("thing-1", "thing-2"):
        maker.entry(name)
    let_go()
    (folder / "thing-0").mkdir()
    maker.entry("thing-2")
    assert names(folder) == {"thing-0", "thing-1", "thing-2"}


def test_what_another_process_uses_stays_until_it_ends(folder: Path) -> None:
    maker = Maker()
    for number in (1, 2, 3):
        maker.entry(f"thing-{number}")
    let_go()
    uses = (
        "from autoballoon.lab import cache\n"
        "print(cache.entry('thing-1', None, print, making='', versions='thing-*'), flush=True)\n"
        "input()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", uses], stdin=pipe, stdout=pipe, text=True) as user:
        assert user.stdout is not None
        assert user.stdout.readline().strip() == str(folder / "thing-1")
        for number in (1, 2, 3):
            os.utime(folder / f"thing-{number}", (number, number))
        maker.entry("thing-4")
        assert names(folder) == {"thing-1", "thing-3", "thing-4"}
        user.communicate("\n")
    maker.entry("thing-5")
    assert names(folder) == {"thing-4", "thing-5"}


def test_one_that_is_removed_while_it_is_taken_is_made_again(folder: Path) -> None:
    maker = Maker()
    made = maker.entry()
    made.rename(folder / ".thing-1.0-0")
    assert (maker.entry() / "content").exists()
    assert maker.calls == 2
