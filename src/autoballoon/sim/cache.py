"""A guest's file cache: warm files that are read again and again, and cold ones that were read once."""

from autoballoon.sim.characters import Group


class FileCache:
    """Bytes of files in memory. Pressure takes cold ones first."""

    __slots__ = ("_group", "cold", "read_once", "warm")

    def __init__(self, group: Group) -> None:
        self._group = group
        self.warm = self.cold = 0.0
        self.read_once = 0.0
        """Of the cold files, read so far."""

    @property
    def size(self) -> float:
        """All of it."""
        return self.warm + self.cold

    def fill(self, room: float) -> None:
        """It has long been running: what has room is there."""
        self.read_once = float(self._group.files - self._group.warm)
        self.warm = min(float(self._group.warm), room)
        self.cold = min(self.read_once, room - self.warm)

    def fit(self, room: float) -> None:
        """What has no room goes."""
        over = self.warm + self.cold - room
        if over > 0:
            gone = min(self.cold, over)
            self.cold -= gone
            self.warm = max(0.0, self.warm - (over - gone))

    def read_again(self, room: float, dt: float, progress: float) -> tuple[float, float]:
        """The missing warm files, pass after pass: (seconds it waits in a second of work, bytes read)."""
        group = self._group
        misses = group.warm - self.warm
        if misses <= 0:
            return 0.0, 0.0
        # It wants all of it; what has no room is read for nothing.
        rate = misses / group.warm_pass
        read = min(rate * dt * progress, group.disk * dt)
        free = room - self.warm - self.cold
        if free < read and self.cold > 0:
            gone = min(self.cold, read - free)
            self.cold -= gone
            free += gone
        self.warm += max(0.0, min(read, free))
        return rate / group.disk, read

    def read_on(self, room: float, dt: float) -> None:
        """The cold files, once."""
        group = self._group
        rest = group.files - group.warm - self.read_once
        if rest > 0:
            read = min(rest, group.read * dt)
            self.read_once += read
            self.cold += max(0.0, min(read, room - self.warm - self.cold))
