"""The lab's own memory control group: every guest lives in it, and its limit is the host's size."""

from pathlib import Path
from typing import Protocol


class Group(Protocol):
    """One group, on cgroup v1 or v2."""

    version: int
    """1 or 2"""
    path: Path
    """Its folder; "cgroup:PATH" is what the daemon's `capacity` takes."""
    pressure: Path | None
    """Its memory.pressure file (on v1 in a cgroup2 group of the same name), or None."""
    procs: tuple[Path, ...]
    """The cgroup.procs files a guest must enter."""

    def limit(self, size: int | None) -> None:
        """Limit it to `size` bytes; None lifts the limit."""

    def usage(self) -> int:
        """Bytes charged to it now."""

    def remove(self) -> None:
        """Kill what is inside, wait, and remove it."""
