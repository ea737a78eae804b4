"""The swap file where none can be made. Nothing is ever switched on."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import MIB
from autoballoon.lab.swap import SwapFile


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        CouldNot, match=r"of 64 MiB cannot be written \(No space left on device\); make room there or"
    ):
        SwapFile(tmp_path / "swap").make(64 * MIB)
    assert list(tmp_path.iterdir()) == []


def test_swap_behind_a_symbolic_link_is_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel shows where the file really is."""
    (tmp_path / "real").mkdir()
    (tmp_path / "cache").symlink_to("real")
    (tmp_path / "real/swap").touch()
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/swaps").write_text(f"Filename Type\n{tmp_path}/real/swap file 1 0 32767\n")
    (tmp_path / "swapoff").write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/switched-off\n')
    (tmp_path / "swapoff").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    SwapFile(tmp_path / "cache/swap", root=tmp_path).remove()
    assert (tmp_path / "switched-off").read_text() == f"{tmp_path}/cache/swap\n"
    assert not (tmp_path / "real/swap").exists()


def test_where_nothing_may_be_written_nothing_is_removed() -> None:
    """The kernel refuses there to remove even what is not there."""
    file = SwapFile(Path("/proc/swap-of-a-lab"))
    with pytest.raises(CouldNot, match="/proc/swap-of-a-lab of 64 MiB cannot be written"):
        file.make(64 * MIB)
    file.remove()
