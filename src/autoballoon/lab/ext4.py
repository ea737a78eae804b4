"""Put a folder into an ext4 image, without mounting anything and without root."""

from pathlib import Path

from autoballoon.core.units import MIB
from autoballoon.lab.commands import run

_BLOCK = 4096
_SPARE = 8 * MIB
"""For the file system's own tables."""
_INODE = 256


def pack(content: Path, image: Path) -> None:
    """Write `image`, an ext4 file system with what is in the folder `content`; small, for reading only.

    CouldNot when e2fsprogs is missing or the disk is full. No journal, nothing reserved.
    """
    files = list(content.rglob("*"))
    blocks = sum(-(-path.lstat().st_size // _BLOCK) for path in files)
    inodes = len(files) + 64
    # A sixteenth for what maps the blocks; it takes no room until it is written to.
    size = blocks * _BLOCK * 17 // 16 + inodes * _INODE + _SPARE
    options = ["-q", "-b", str(_BLOCK), "-O", "^has_journal", "-m", "0", "-N", str(inodes)]
    run(["mkfs.ext4", *options, "-d", content, image, f"{size // MIB + 1}M"])
