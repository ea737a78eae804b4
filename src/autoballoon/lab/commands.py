"""Run a tool of the system, and tell its failure in one sentence."""

import signal
import subprocess
from collections.abc import Sequence
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


def run(argv: Sequence[str | Path], *, cwd: Path | None = None) -> str:
    """What the tool printed. CouldNot when it is missing or fails: the sentence ends with its own last line."""
    tool = str(argv[0])
    try:
        done = subprocess.run(
            [str(part) for part in argv], cwd=cwd, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as missing:
        raise CouldNot(
            f"{tool} is not installed; install it with: apt-get install {PACKAGE_OF.get(tool, tool)}"
        ) from missing
    if done.returncode == -signal.SIGINT:
        raise KeyboardInterrupt  # Ctrl-C reaches the tool too, and asyncio hands it on at the next await only
    if done.returncode != 0:
        raise CouldNot(
            f"`{' '.join(str(part) for part in argv)}` failed: {last_line(done.stderr or done.stdout)}"
        )
    return done.stdout


def last_line(text: str) -> str:
    """The last line that says something, without its end, at most 300 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
