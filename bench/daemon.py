"""What the daemon costs with 8 to 1000 guests: the installed `autoballoon run` against fake QEMUs on real sockets.

`late` is what the daemon says of its own ticks, `joining` the latest tick while fifty guests more appear at once,
`machine` how late a process wakes that does nothing: where that is not small, others were busy here, and lateness
is theirs. `commands` counts QMP commands for each guest and second of the measured time; -v names them. `starved` is
how long guests needed more than they had, all together. Below the rows of 500 and 1000 guests stand their goals; exit
code 3 when one of them was missed.

One guest in twenty takes and frees memory in waves; the others are idle. The host is too small for all to be as large
as they may be. Each fake guest has a process of its own, so that /proc is read as with real guests, but it is small: a
real QEMU's smaps is longer (the daemon bounds the time that it reads them). Not exercised: memory that really moves.

The daemon runs in a mount namespace where /proc/meminfo tells of a host large enough for so many guests: this takes
root. With several programs each size is measured with one after the other:

    bench/daemon.py [--guests 8,100,500,1000] [--busy 0.05] [--seconds 60] [PROGRAM ...]
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoballoon.core.units import KIB, MIB

ROOT = Path(__file__).parent.parent
ROOM = 325 * MIB
"""For each guest of 512 MiB."""
HOSTS_OWN = 64 * MIB
SETTLE_S = 40.0
"""No guest is calm before it has been known for 30 s (core/calm.py)."""
JOIN, JOINING_S = 50, 5.0
"""So many guests more appear at once at the end, while ticks are watched."""
UP_WITHIN_S = 60.0
HZ = os.sysconf("SC_CLK_TCK")
TITLES = (("guests", 6), ("CPU", 7), ("RSS", 8), ("late p50", 9), ("p99", 7), ("missed", 6), ("joining", 7),
          ("machine", 8), ("commands", 9), ("starved", 8))  # fmt: skip
HEAD = " ".join(f"{title:>{width}}" for title, width in TITLES)
MOST_LATE_S, MOST_COMMANDS, MOST_RSS = 0.25, 1.0, 120 * MIB
MOST_STARVED = 0.01
"""Of the time of guests that live in waves: 0.12 s of each wave. (0.6 % on two processors busy with other work.)"""
MOST_CPU = {500: 0.25, 1000: 0.50}
"""Of one core; the goals are those of so many guests."""


@contextlib.contextmanager
def fleet(folder: Path, guests: int, busy: int) -> Iterator[subprocess.Popen[bytes]]:
    """So many fake guests."""
    command = [sys.executable, "-m", "tests.guests.fleet", str(folder), str(guests), str(busy), str(JOIN)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            until((folder / "fleet.json").exists, "the fake guests")
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


@contextlib.contextmanager
def daemon(program: str, folder: Path, guests: int) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon, looking at a host of its own."""
    capacity = guests * ROOM
    meminfo = folder / "meminfo"
    meminfo.write_text(f"MemTotal: {capacity // KIB} kB\nMemAvailable: {(capacity - HOSTS_OWN) // KIB} kB\n")
    config = folder / "config.toml"
    config.write_text(
        f'[connect]\nqmp = ["{folder}/*.qmp"]\n[defaults]\nfloor = "12%"\n[control]\nsocket = "{folder}/control.sock"\n'
    )
    mounts = [f"mount --bind {meminfo} /proc/meminfo"]
    for pid in json.loads((folder / "fleet.json").read_text())["pids"]:
        mounts.append(f"mount --bind {folder}/stat.{pid} /proc/{pid}/stat")
    script = " && ".join([*mounts, f"exec {program} run --config {config}"])
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=log, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def until(there: Any, what: str) -> None:
    deadline = time.monotonic() + UP_WITHIN_S
    while not there():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come up within {UP_WITHIN_S:.0f} s")
        time.sleep(0.1)


async def status(folder: Path) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(folder / "control.sock", limit=16 * MIB)
    writer.write(b'{"v":1,"id":1,"do":"status","args":{}}\n')
    reply = json.loads(await reader.readline())
    writer.close()
    return dict(reply.get("data") or {})


def sees_all(folder: Path, guests: int) -> bool:
    try:
        seen = asyncio.run(status(folder))["snapshot"]["guests"]
    except (OSError, KeyError, ValueError):
        return False
    return sum(guest["age_s"] is not None and guest["pid"] is not None for guest in seen) == guests


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HZ


def rss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith("VmRSS:"))


def machine_late_s(seconds: float) -> float:
    """Wait so long; by how much 99 of 100 naps of a process that does nothing were too long, at most."""
    late: list[float] = []
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        time.sleep(0.02)
        late.append(time.monotonic() - began - 0.02)
    return sorted(late)[len(late) * 99 // 100]


def latest_while_they_join(folder: Path, crowd: subprocess.Popen[bytes]) -> float:
    """By how much the latest tick came late while JOIN guests appeared at once."""
    crowd.send_signal(signal.SIGUSR1)
    late: list[float] = []
    seen, began = 0, time.monotonic()
    while seen < JOIN or time.monotonic() < began + JOINING_S:
        if time.monotonic() > began + UP_WITHIN_S:
            raise SystemExit(f"{JOIN - seen} of {JOIN} guests that started later were never seen")
        told = asyncio.run(status(folder))
        late.append(told["daemon"]["tick"]["late_s"])
        seen = sum(guest["name"].startswith("l") for guest in told["snapshot"]["guests"])
        time.sleep(0.1)
    return max(late)


@dataclass(frozen=True)
class Count:
    """QMP commands that the fleet had had at a time of its clock."""

    at: float
    commands: Counter[str]

    @classmethod
    def of(cls, folder: Path, crowd: subprocess.Popen[bytes]) -> "Count":
        file = folder / "counts.json"
        file.unlink(missing_ok=True)
        crowd.send_signal(signal.SIGUSR2)
        until(file.exists, "the count of commands")
        told = json.loads(file.read_text())
        return cls(told["at"], Counter(told["commands"]))


@dataclass(frozen=True)
class Measured:
    """What a daemon with so many guests costs."""

    guests: int
    cpu: float
    rss: int
    lateness: dict[str, Any]
    joining_s: float
    machine_s: float
    commands: Counter[str]
    """In all of the measured time; `per_s` of it for a guest and second."""
    seconds: float
    starved_s: float
    lived_s: float
    """Of all guests that live in waves, together."""

    def per_s(self, commands: int) -> float:
        return commands / self.guests / self.seconds

    def __str__(self) -> str:
        late = self.lateness
        return (
            f"{self.guests:>6} {self.cpu:>7.2%} {self.rss / MIB:>4.0f} MiB "
            f"{late['p50_s'] * 1e3:>6.1f} ms {late['p99_s'] * 1e3:>4.0f} ms {late['missed']:>6} "
            f"{self.joining_s * 1e3:>4.0f} ms {self.machine_s * 1e3:>5.0f} ms "
            f"{self.per_s(self.commands.total()):>9.2f} {self.starved_s:>6.1f} s"
        )

    def kinds(self) -> str:
        """Each command, the most frequent first."""
        return ", ".join(f"{name} {self.per_s(n):.3f}" for name, n in self.commands.most_common())

    def goals(self) -> dict[str, bool]:
        """Each goal for so many guests, and whether it was reached."""
        return {
            f"p99 under {MOST_LATE_S * 1e3:.0f} ms": self.lateness["p99_s"] < MOST_LATE_S,
            "no missed tick": self.lateness["missed"] == 0,
            f"under {MOST_RSS // MIB} MiB": self.rss < MOST_RSS,
            f"at most {MOST_COMMANDS:g} command": self.per_s(self.commands.total()) <= MOST_COMMANDS,
            f"under {MOST_CPU[self.guests]:.0%} of a core": self.cpu < MOST_CPU[self.guests],
            f"starved for under {MOST_STARVED:.1%} of the time": self.starved_s < MOST_STARVED * self.lived_s,
        }


def measure(program: str, guests: int, busy: float, seconds: float) -> Measured:
    with tempfile.TemporaryDirectory(prefix="autoballoon-bench-") as name:
        folder = Path(name)
        lively, born = max(1, round(guests * busy)), time.monotonic()
        with (
            fleet(folder, guests, lively) as crowd,
            daemon(program, folder, guests) as process,
        ):
            until(lambda: sees_all(folder, guests), "the daemon")
            time.sleep(SETTLE_S)
            before = Count.of(folder, crowd)
            began, had_s = time.monotonic(), cpu_s(process.pid)
            others = machine_late_s(seconds)
            share = (cpu_s(process.pid) - had_s) / (time.monotonic() - began)
            after = Count.of(folder, crowd)
            size = rss(process.pid)
            late = asyncio.run(status(folder))["daemon"]["lateness"]
            most_s = latest_while_they_join(folder, crowd)
        told = json.loads((folder / "fleet.json").read_text())
        lived_s = lively * (time.monotonic() - born)
    commands = after.commands - before.commands
    return Measured(
        guests, share, size, late, most_s, others, commands, after.at - before.at, told["starved_s"], lived_s
    )


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--guests", default="8,100,500,1000")
    parse.add_argument("--busy", type=float, default=0.05, help="the part of the guests that lives in waves")
    parse.add_argument("--seconds", type=float, default=60.0)
    parse.add_argument("-v", "--verbose", action="store_true", help="also which commands were sent")
    parse.add_argument("programs", nargs="*", default=[str(Path(sys.executable).with_name("autoballoon"))])
    told = parse.parse_args()
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        print("daemon: left out, it takes root and unshare (util-linux)")
        return
    print(HEAD)
    missed = False
    for guests in map(int, told.guests.split(",")):
        for program in told.programs:
            suffix = f"  {program}" if len(told.programs) > 1 else ""
            found = measure(program, guests, told.busy, told.seconds)
            print(f"{found}{suffix}", flush=True)
            if guests in MOST_CPU:
                goals = found.goals()
                missed |= not all(goals.values())
                said = (f"{goal}: {'reached' if so else 'MISSED'}" for goal, so in goals.items())
                print(f"{'':>7}{'; '.join(said)}", flush=True)
            if told.verbose:
                print(f"{'':>7}{found.kinds()}", flush=True)
    sys.exit(3 if missed else 0)


if __name__ == "__main__":
    main()
