"""A made-up tree of control groups, version 2, as files: what is written into it stays there."""

from pathlib import Path

from autoballoon.core.units import MIB

BOOT = "11111111-2222-3333-4444-555555555555"


class Tree:
    """The folder at `root` with /proc and /sys/fs/cgroup; the memory controller is version 2's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cgroup = root / "sys/fs/cgroup"
        self.cgroup.mkdir(parents=True)
        (self.cgroup / "cgroup.controllers").write_text("cpu io memory pids\n")
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/mounts").write_text(
            "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
        )
        (root / "proc/sys/kernel/random").mkdir(parents=True)
        self.boot(BOOT)

    def boot(self, boot: str) -> None:
        (self.root / "proc/sys/kernel/random/boot_id").write_text(f"{boot}\n")

    def group(
        self, name: str, *pids: int, kind: str = "domain", memory: bool = True, high: str = "max"
    ) -> Path:
        """A group with these processes; `memory`: the controller is handed down to it."""
        folder = self.cgroup / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.type").write_text(f"{kind}\n")
        if kind != "threaded":
            (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        if memory:
            (folder / "memory.high").write_text(f"{high}\n")
            self.holds(name, 100 * MIB)
        return folder

    def holds(self, name: str, size: int, cache: int = 0) -> None:
        (self.cgroup / name / "memory.current").write_text(f"{size + cache}\n")
        (self.cgroup / name / "memory.stat").write_text(
            f"anon {size}\nactive_file {cache}\ninactive_file 0\nslab_reclaimable 0\n"
        )

    def process(self, pid: int, name: str) -> None:
        """A process in the group `name`."""
        folder = self.root / "proc" / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "cgroup").write_text(f"0::/{name}\n")

    def high(self, name: str) -> int | None:
        text = (self.cgroup / name / "memory.high").read_text().strip()
        return None if text == "max" else int(text)
