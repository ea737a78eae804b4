"""Small kernel files (/proc, /sys) read again and again, or once."""

import os
import re
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import KIB

_LONGEST = 1 << 16


class KeptFile:
    """A kernel file kept open and read from its beginning each time: the kernel makes its text anew at offset 0.

    Cheaper than opening it each time, and it cannot silently become another file under the same name.
    CouldNot when it cannot be opened or, later, read (its control group was removed).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CouldNot(f"{path} cannot be read: {error.strerror}; run as root on Linux") from error

    def read(self, most: int = _LONGEST) -> bytes:
        """The file's text as it is now, at most `most` bytes of it."""
        try:
            return os.pread(self._fd, most, 0)
        except OSError as error:
            raise CouldNot(
                f"{self.path} can no longer be read: {error.strerror}; is its group gone?"
            ) from error

    def close(self) -> None:
        """Let the file go; closing twice does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


def read_if_there(path: Path) -> bytes | None:
    """The file's text, or None when it is absent, switched off or of a process that has gone."""
    # pathlib's read_bytes makes nine system calls of these three, several times a second for each guest.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts = [os.read(fd, _LONGEST)]
        while parts[-1]:
            parts.append(os.read(fd, _LONGEST))
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(fd)


def is_at(fd: int, path: Path) -> bool:
    """Whether the open file is the one at this path now: a group that was removed and made again has new files."""
    try:
        ours, there = os.fstat(fd), path.stat()
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def fields(text: bytes) -> dict[bytes, int]:
    """The numbers of a file of `name number` lines: /proc/vmstat, memory.stat."""
    words = text.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=False))


_KIB_LINE = re.compile(rb"^(\w+(?:\(\w+\))?):\s+(\d+) kB$", re.MULTILINE)


def kib_fields(text: bytes) -> dict[bytes, int]:
    """Bytes of a file of `Name:  number kB` lines: /proc/meminfo, /proc/PID/status, one mapping of smaps."""
    return {name: int(number) * KIB for name, number in _KIB_LINE.findall(text)}
