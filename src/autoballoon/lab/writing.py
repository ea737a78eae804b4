"""Files that the lab writes where there may be no room for them."""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import MIB

OUT = "make room or give another --out"
CACHE = "make room there or point AUTOBALLOON_CACHE at another disk"
RUN = "the lab needs root and room in /run"


@contextlib.contextmanager
def writing(path: Path, mend: str) -> Iterator[None]:
    """Turn a disk that is full or read-only into one CouldNot that ends with the mend."""
    try:
        yield
    except OSError as error:
        raise CouldNot(f"{path} cannot be written ({error.strerror}); {mend}") from error


async def full_disk(folder: Path) -> None:
    """CouldNot once that folder's disk is full: QEMU stops a guest that cannot write to its disk, without a word."""
    while True:
        if shutil.disk_usage(folder).free < MIB:
            raise CouldNot(f"the disk of {folder} is full, and guests that swap to it stand still; {CACHE}")
        await asyncio.sleep(1.0)
