"""Run a tool of the system, and tell its failure in one sentence."""

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from autoballoon.core.errors import CouldNot

PACKAGE_OF = {
    "qemu-system-x86_64": "qemu-system-x86",
    "gcc": "gcc libc6-dev",
    "mkfs.ext4": "e2fsprogs",
    "dpkg": "dpkg",
    "apt-get": "apt",
    "apt-cache": "apt",
    "mmdebstrap": "mmdebstrap",
    "mkswap": "util-linux",
    "swapon": "mount",
    "swapoff": "mount",
}


_FULL = os.strerror(errno.ENOSPC)


class NoRoom(CouldNot):
    """A tool failed because a disk is full."""


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    say: Callable[[str], None] | None = None,
    apart: bool = False,
) -> str:
    """What the tool printed. CouldNot when it is missing or fails: the sentence ends with its own last line.

    `say` is told all that it said when it fails, where the last line alone does not help: a compiler's errors.

    `apart`: in a session of its own, where no terminal's Ctrl-C reaches it.

    NoRoom where it said that a disk is full, be it not in its last line: that one's sentence ends with what it said.
    """
    tool = str(argv[0])
    english = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            [str(part) for part in argv], cwd=cwd, capture_output=True, text=True, check=False, env=english,
            start_new_session=apart,
        )  # fmt: skip
    except FileNotFoundError as missing:
        raise CouldNot(
            f"{tool} is not installed; install it with: apt-get install {PACKAGE_OF.get(tool, tool)}"
        ) from missing
    if done.returncode == -signal.SIGINT and not apart:
        raise KeyboardInterrupt  # Ctrl-C reaches the tool too, and asyncio hands it on at the next await only
    if done.returncode != 0:
        told = done.stderr or done.stdout
        if say is not None:
            say(told.rstrip())
        failed = f"`{' '.join(str(part) for part in argv)}` failed: "
        if full := [line for line in told.splitlines() if _FULL in line]:
            raise NoRoom(failed + last_line(full[0]))
        raise CouldNot(failed + last_line(told))
    return done.stdout


def last_line(text: str) -> str:
    """The last line that says something, without its end, at most 300 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
