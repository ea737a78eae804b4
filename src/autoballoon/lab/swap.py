"""A swap file of the lab's own, so that a limited host really swaps and nobody else's swap is needed."""

import os
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import size_text
from autoballoon.lab.commands import run
from autoballoon.lab.writing import CACHE

_PRIORITY = 32767
"""The highest there is: the lab's pages go to the lab's file, not to a swap partition the machine may have."""


class SwapFile:
    """A file that is made, switched on, and later switched off and removed."""

    def __init__(self, path: Path, root: Path = Path("/")) -> None:
        self.path = path
        self._swaps = root / "proc/swaps"

    def make(self, size: int) -> None:
        """Switch on `size` bytes of swap. CouldNot when the disk is full or swap not allowed; then nothing is left."""
        try:
            with self.path.open("wb") as file:
                self.path.chmod(0o600)
                os.posix_fallocate(file.fileno(), 0, size)
            run(["mkswap", self.path])
            run(["swapon", "-p", str(_PRIORITY), self.path])
        except OSError as error:
            self.remove()
            raise CouldNot(
                f"the swap file {self.path} of {size_text(size)} cannot be written ({error.strerror}); {CACHE}"
            ) from error
        except CouldNot as trouble:
            self.remove()
            raise CouldNot(
                f"the lab cannot swap here: {trouble} (swap needs root on a real machine and a file on ext4 or xfs; "
                "AUTOBALLOON_CACHE says where)"
            ) from trouble

    def remove(self) -> None:
        """Switch it off and delete it. Slow while it is full, so the guests end first."""
        if self._is_on():
            run(["swapoff", self.path], apart=True)
        if self.path.exists():  # where nothing may be written, nothing may be removed either
            self.path.unlink()

    def _is_on(self) -> bool:
        # /proc/swaps shows where the file really is, with blanks as \040 (seq_file_path in the kernel's
        # mm/swapfile.c).
        shown = os.path.realpath(self.path).replace("\\", "\\134").replace(" ", "\\040")
        try:
            lines = self._swaps.read_text().splitlines()[1:]
        except OSError:
            return False
        return any(line.split()[0].removesuffix("\\040(deleted)") == shown for line in lines)
