"""Who a process is: a pid alone may have been given to another meanwhile."""

from pathlib import Path

import msgspec


class Identity(msgspec.Struct, frozen=True):
    """One process of one boot of this machine."""

    pid: int
    started: int
    """Clock ticks since boot (proc(5), stat field 22)."""
    boot: str

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return identify(self.pid) == self


def identify(pid: int) -> Identity | None:
    """The process that has this pid now, or None; a zombie counts as gone."""
    try:
        # The command's name, in brackets, may hold blanks and brackets itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Identity(pid=pid, started=int(fields[19]), boot=boot_id())


def boot_id() -> str:
    """This boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
