"""Unix sockets named by globs, and the task that looks for them again and again."""

import asyncio
import contextlib
import glob
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from autoballoon.guests.hypervisor import Problem

log = logging.getLogger(__name__)


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

    A path that is not UTF-8 is left out, for as a guest's key it could not be told to anybody; into `refused` goes
    what is to be said of it, by how it can be shown.
    """
    found: dict[str, str] = {}
    folders: dict[str, str] = {}
    for pattern in globs:
        for match in sorted(glob.glob(pattern)):  # noqa: PTH207 (Path.glob takes no absolute pattern)
            with contextlib.suppress(OSError, RuntimeError):
                path = _socket(match, folders)
                if path is None:
                    continue
                if _is_text(match + path):
                    found.setdefault(path, Path(match).stem)
                elif refused is not None:
                    refused[shown(match)] = "its name is not UTF-8, so it is left alone; give it another"
    return found


def shown(path: str) -> str:
    """The path as text, whatever bytes are in it."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _socket(match: str, folders: dict[str, str]) -> str | None:
    """The real path of what matched, when that is a socket; `folders` are the real paths of folders met so far.

    A folder is resolved once, however many sockets lie in it: that takes a system call for each of its parents.
    """
    mode = os.lstat(match).st_mode
    if stat.S_ISLNK(mode):
        real = os.path.realpath(match)
        return real if stat.S_ISSOCK(os.lstat(real).st_mode) else None
    if not stat.S_ISSOCK(mode):
        return None
    folder, name = os.path.split(match)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return os.path.join(folders[folder], name)  # noqa: PTH118 (a Path is twenty times as dear, for each guest and second)
