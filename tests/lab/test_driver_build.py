"""How the guests' driver is built: from which files, and what is said. The kernel's make is a fake on the PATH."""

import os
from pathlib import Path

import pytest

import autoballoon
from autoballoon.core.errors import CouldNot
from autoballoon.lab import driver, packages

MAKE = """#!/bin/sh
for word in "$@"; do case $word in M=*) cd "${word#M=}" ;; esac; done
grep -h -n ERROR *.c >&2 && { echo "make: *** [Makefile:9: modules] Error 2" >&2; exit 2; }
echo "$@" > words
ls > autoballoon.ko
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The driver's folder in a repository; its make lists what there is to build from."""
    folder = tmp_path / "guest" / "driver"
    folder.mkdir(parents=True)
    for name in ("Kbuild", "main.c", "balloon.h", "README.md"):
        (folder / name).write_text(name)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "make").write_text(MAKE)
    (bin_ / "make").chmod(0o755)
    for tool in ("sh", "grep", "ls"):
        (bin_ / tool).symlink_to(f"/bin/{tool}")
    monkeypatch.setenv("PATH", str(bin_))
    monkeypatch.setenv("AUTOBALLOON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(autoballoon, "__file__", str(tmp_path / "src" / "autoballoon" / "__init__.py"))
    monkeypatch.setattr(packages, "kernel_tree", lambda _: ("6.1.0-1-cloud-amd64", tmp_path))
    monkeypatch.setattr(driver, "_headers", lambda *_: tmp_path / "headers")
    return folder


def built(module: Path) -> list[str]:
    return module.read_text().split()


def test_what_an_editor_left_beside_the_source_is_not_built(source: Path) -> None:
    before = driver.build_driver(print)
    (source / ".#main.c").symlink_to("somebody@host.1234:5")
    (source / "old.c").mkdir()
    (source / "main.c~").touch()
    assert driver.build_driver(print) == before
    assert built(before) == ["Kbuild", "autoballoon.ko", "balloon.h", "main.c", "words"]


def test_all_that_the_compiler_says_is_shown(source: Path) -> None:
    (source / "main.c").write_text("fine\nERROR one\nERROR two\n")
    said: list[str] = []
    with pytest.raises(CouldNot, match=r"failed: make: \*\*\* \[Makefile:9: modules\] Error 2$"):
        driver.build_driver(said.append)
    assert said[-1].splitlines()[:2] == ["2:ERROR one", "3:ERROR two"]


def test_without_sparse_it_says_so_and_with_it_it_is_built_again(source: Path) -> None:
    said: list[str] = []
    without = driver.build_driver(said.append)
    assert any("without sparse, which is not installed" in one for one in said)
    sparse = Path(os.environ["PATH"]) / "sparse"
    sparse.touch(mode=0o755)
    said.clear()
    checked = driver.build_driver(said.append)
    assert checked != without and "C=1" in checked.with_name("words").read_text()
    assert not any("sparse" in one for one in said)


def test_without_the_source_one_sentence(source: Path) -> None:
    (source / "Kbuild").unlink()
    with pytest.raises(CouldNot, match="it comes with autoballoon's repository"):
        driver.build_driver(print)
