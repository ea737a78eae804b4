"""Unix sockets named by globs, and the task that looks for them again and again."""

import asyncio
import contextlib
import errno
import glob
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from autoballoon.guests.hypervisor import Problem

log = logging.getLogger(__name__)

_LONGEST_WAY = 1000
"""Parts of a path, those of the links on the way included."""
_Folders = dict[str, tuple[str, frozenset[int]]]
"""By the folder as it was matched: its real path, and the users whose symbolic links are on the way."""


class Rescan:
    """Has `scan` called every `every_s` seconds; one that fails is told of, and followed by the next."""

    def __init__(self, scan: Callable[[], Awaitable[None]], every_s: float) -> None:
        self._scan = scan
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None
        self._trouble: str | None = None

    @property
    def runs(self) -> bool:
        """Whether it was started."""
        return self._task is not None

    def start(self) -> None:
        """Begin, with a wait."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End, whether it was started or not."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def problems(self) -> list[Problem]:
        """Why new sockets are not found, now."""
        return [] if self._trouble is None else [Problem("[connect]", self._trouble)]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self._scan()
                self._trouble = None
            except Exception as error:
                self._trouble = (
                    f"new sockets are not found ({type(error).__name__}: {error}); it is tried again"
                )
                log.debug("where it failed", exc_info=True)


def sockets(globs: Sequence[str], refused: dict[str, str] | None = None) -> dict[str, str]:
    """The sockets that match, by their real path; the value is the stem of the name that matched.

    Those that are to be left alone are left out; into `refused` goes why, by how the name can be shown.
    """
    found: dict[str, str] = {}
    folders: _Folders = {}
    for pattern in globs:
        for match in sorted(glob.glob(pattern)):  # noqa: PTH207 (Path.glob takes no absolute pattern)
            try:
                path = _socket(match, folders)
            except _LeftAlone as why:
                if refused is not None:
                    refused[shown(match)] = str(why)
            except OSError:
                continue  # it has gone, or is not ours to see
            else:
                if path is not None:
                    found.setdefault(path, Path(match).stem)
    return found


def shown(path: str) -> str:
    """The path as text, whatever bytes are in it."""
    return os.fsencode(path).decode(errors="backslashreplace")


@contextlib.contextmanager
def way_to(path: str) -> Iterator[str]:
    """An address to connect to what is at this real path. FileNotFoundError where a link has come on the way to it.

    The kernel would follow that, and whoever may put one there chooses when: `sockets` saw another thing.
    """
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        address = f"/proc/self/fd/{place}"
        if os.readlink(address) != path:  # noqa: PTH115 (as text, which it is compared with)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        yield address
    finally:
        os.close(place)


class _LeftAlone(Exception):
    """Why a socket that matches is not used."""


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _socket(match: str, folders: _Folders) -> str | None:
    """The real path of what matched, when that is a socket; `folders` are those met so far.

    A folder is resolved once, however many sockets lie in it: that takes a system call for each of its parents.
    _LeftAlone where its path is not UTF-8, for as a guest's key it could not be told to anybody; or where a link on the
    way is of somebody who could not have made the socket himself. A folder of sockets may be QEMU's own: who has
    broken out of a guest could lead root to any socket of the host.
    """
    here = os.lstat(match)
    if stat.S_ISLNK(here.st_mode):
        path, makers = _resolved(match)
        here = os.lstat(path)
    else:
        folder, name = os.path.split(match)
        if folder not in folders:
            folders[folder] = _resolved(folder)
        real, makers = folders[folder]
        path = os.path.join(real, name)  # noqa: PTH118 (a Path is twenty times as dear, for each guest and second)
    if not stat.S_ISSOCK(here.st_mode):
        return None
    for stranger in makers - {0, os.geteuid(), here.st_uid}:
        raise _LeftAlone(
            f"a symbolic link of uid {stranger} leads there, whose socket it is not;"
            " have root make the link, or name the socket itself"
        )
    if not _is_text(match + path):
        raise _LeftAlone("its name is not UTF-8, so it is left alone; give it another")
    return path


def _resolved(path: str) -> tuple[str, frozenset[int]]:
    """The real path of what is at this absolute one, and the users whose symbolic links are on the way."""
    makers: set[int] = set()
    at, names = "/", path.split("/")[::-1]
    for _ in range(_LONGEST_WAY):
        if not names:
            return at, frozenset(makers)
        below = os.path.normpath(os.path.join(at, names.pop()))  # noqa: PTH118 (as above)
        here = os.lstat(below)
        if stat.S_ISLNK(here.st_mode):
            makers.add(here.st_uid)
            target = os.readlink(below)  # noqa: PTH115 (text as `path` is, whatever bytes are in it)
            at = "/" if target.startswith("/") else at
            names += target.split("/")[::-1]
        else:
            at = below
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
