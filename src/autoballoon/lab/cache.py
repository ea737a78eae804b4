"""The cache folder: things that are costly to make, made once, each under a name that holds its version.

An entry is a folder, made aside and then renamed, so a name that exists is whole; what damages it later is seen by
the sizes of its files, noted in it when it was made. Whoever uses one holds a lock on that note as long as it runs;
when a new version is published, older ones that nobody holds go, but for the one that was used last.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.host.files import is_at
from autoballoon.lab.commands import NoRoom
from autoballoon.lab.processes import identify
from autoballoon.lab.writing import CACHE

Say = Callable[[str], None]
"""Tells the user what is going on, one sentence at a time."""

_SIZES = ".sizes.json"
OLDER = 1
"""So many older versions stay: who goes to and fro between two branches makes nothing twice."""
_held: dict[Path, int] = {}
"""Entries that this process uses, with the open file that is locked."""


class NotMade(CouldNot):
    """The cache is at fault, not what should be in it: its disk is full, or it may not be written."""


def cache_folder() -> Path:
    """Where entries live: $AUTOBALLOON_CACHE, else ~/.cache/autoballoon. NotMade when it cannot be made."""
    folder = Path(os.environ.get("AUTOBALLOON_CACHE") or Path.home() / ".cache" / "autoballoon").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotMade(
            f"the cache folder {folder} cannot be made ({error.strerror}); point AUTOBALLOON_CACHE at one you may write"
        ) from error
    return folder


def entry(name: str, make: Callable[[Path], None], say: Say, *, making: str, versions: str) -> Path:
    """The folder of the entry `name`, filled by `make(folder)` when it is not there or is damaged.

    `making` is what is said before it is made; `versions` is the glob of the names that older and newer ones of the
    same thing have. It is there as long as this process runs. CouldNot, from `make`, or NotMade; then nothing is left.
    """
    folder = cache_folder() / name
    if _take(folder):
        return folder
    aside = folder.parent / f".{name}.{_me()}"
    try:
        if os.path.lexists(folder):
            say(f"{folder} is damaged; making it again")
            _remove(folder)
        say(making)
        _sweep(folder.parent)
        aside.mkdir()
        make(aside)
        (aside / _SIZES).write_text(json.dumps(_sizes(aside)))
        _publish(aside, folder)
    except OSError as error:
        raise NotMade(f"{folder} cannot be made ({error.strerror}); {CACHE}") from error
    except NoRoom as error:
        raise NotMade(f"{folder} cannot be made ({os.strerror(errno.ENOSPC)}); {CACHE}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _take(folder)
    _prune(folder, versions, say)
    return folder


def last_used(names: str) -> Path | None:
    """The whole entry of such a name (a glob) that was used last, used from now on; None where there is none."""
    found: list[tuple[float, Path]] = []
    for folder in cache_folder().glob(names):
        with contextlib.suppress(OSError):  # another process has just removed it
            found.append((folder.stat().st_mtime, folder))
    return next((folder for _, folder in sorted(found, reverse=True) if _take(folder)), None)


def _take(folder: Path) -> bool:
    """Use the entry, so that nobody removes it; False when it is not there, or damaged."""
    note = folder / _SIZES
    fd = _held.pop(folder, -1)
    try:
        if fd < 0 or not is_at(fd, note):
            _let_go(fd)
            fd = os.open(note, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_SH)  # waits for somebody who is removing it just now
        if not is_at(fd, note) or not _is_whole(folder):
            _let_go(fd)
            return False
    except OSError:
        return False
    _held[folder] = fd
    with contextlib.suppress(OSError):  # a cache that may only be read
        os.utime(folder)
    return True


def _remove(damaged: Path) -> None:
    """What lies where an entry should, whatever it is."""
    if damaged.is_dir() and not damaged.is_symlink():
        shutil.rmtree(damaged)
    else:
        damaged.unlink()


def _let_go(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


def _prune(folder: Path, versions: str, say: Say) -> None:
    """Remove other versions of the entry that nobody uses, but for those that were used last."""
    others: list[tuple[float, Path]] = []
    for path in folder.parent.glob(versions):
        with contextlib.suppress(OSError):  # another process was faster
            if path != folder and not path.name.startswith(".") and path.is_dir():
                others.append((path.stat().st_mtime, path))
    for _, path in sorted(others, reverse=True)[OLDER:]:
        aside = path.with_name(f".{path.name}.{_me()}")
        if _set_aside(path, aside):
            shutil.rmtree(aside, ignore_errors=True)
            say(f"removed {path.name} from the cache: an older version that nobody uses")


def _set_aside(path: Path, aside: Path) -> bool:
    """Rename an entry so that nobody begins to use it; False when somebody does already."""
    try:
        fd = os.open(path / _SIZES, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # without its note it is damaged, and whoever wants it makes it again
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.rename(aside)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)


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
        return bool(noted) and all((folder / name).stat().st_size == size for name, size in noted.items())
    except (OSError, ValueError, AttributeError):
        return False
