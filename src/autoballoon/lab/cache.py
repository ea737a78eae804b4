"""The cache folder: things that are costly to make, made once, each under a name that holds its version.

An entry is a folder, made aside and then renamed, so a name that exists is whole; what damages it later is seen by
the sizes of its files, noted in it when it was made.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.lab.processes import identify

Say = Callable[[str], None]
"""Tells the user what is going on, one sentence at a time."""

_SIZES = ".sizes.json"


def cache_folder() -> Path:
    """Where entries live: $AUTOBALLOON_CACHE, else ~/.cache/autoballoon. CouldNot when it cannot be made."""
    folder = Path(os.environ.get("AUTOBALLOON_CACHE") or Path.home() / ".cache" / "autoballoon").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CouldNot(
            f"the cache folder {folder} cannot be made ({error.strerror}); point AUTOBALLOON_CACHE at one you may write"
        ) from error
    return folder


def entry(name: str, make: Callable[[Path], None], say: Say, *, making: str) -> Path:
    """The folder of the entry `name`, filled by `make(folder)` when it is not there or is damaged.

    `making` is what is said before it is made. CouldNot, from `make` or for a full disk; then nothing is left.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        if _is_whole(folder):
            return folder
        say(f"{folder} is damaged; making it again")
        shutil.rmtree(folder)
    say(making)
    _sweep(folder.parent)
    aside = folder.parent / f".{name}.{_me()}"
    try:
        aside.mkdir()
        make(aside)
        (aside / _SIZES).write_text(json.dumps(_sizes(aside)))
        _publish(aside, folder)
    except OSError as error:
        raise CouldNot(
            f"{folder} cannot be made ({error.strerror}); make room there or point AUTOBALLOON_CACHE elsewhere"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _me() -> str:
    own = identify(os.getpid())
    assert own is not None
    return f"{own.pid}-{own.started}"


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed while they made an entry have left."""
    for aside in folder.glob(".*"):
        pid, _, started = aside.suffix[1:].partition("-")
        if pid.isdigit() and started.isdigit():
            maker = identify(int(pid))
            if maker is None or str(maker.started) != started:
                shutil.rmtree(aside, ignore_errors=True)


def _publish(aside: Path, folder: Path) -> None:
    try:
        aside.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, and its entry is as good
            raise


def _sizes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.lstat().st_size
        for path in folder.rglob("*")
        if path.name != _SIZES and path.is_file() and not path.is_symlink()
    }


def _is_whole(folder: Path) -> bool:
    try:
        noted = json.loads((folder / _SIZES).read_text())
        return all((folder / name).stat().st_size == size for name, size in noted.items())
    except (OSError, ValueError, AttributeError):
        return False
