"""What a lab guest boots: Debian's cloud kernel, an initramfs made on the spot, and a disk full of data."""

from collections.abc import Callable
from pathlib import Path

import msgspec

Say = Callable[[str], None]


class GuestImage(msgspec.Struct, frozen=True):
    """The files a guest boots from, all in the cache, all shared by every guest."""

    kernel: Path
    initrd: Path
    disk: Path
    """An ext4 image with one file, `data`, opened read-only by every guest."""
    kernel_version: str


def build_image(say: Say) -> GuestImage:
    """The image, from the cache or made now (a minute, once). CouldNot when a package or tool is missing."""
    raise NotImplementedError
