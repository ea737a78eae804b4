"""Some hundreds of fake guests in a process of their own, for the measurements of bench/daemon.py.

    python -m tests.guests.fleet FOLDER GUESTS BUSY LATER

Each guest is a FakeQemu behind FOLDER/gNNNN.qmp, and a sleeping process that called listen() on that socket: so its
pid can be verified, and its files in /proc are there to be read. BUSY of the guests live as those of the lab's wave:
take memory at 150 MiB/s, use it, free it, rest. To show processor time while they take memory, which a sleeper has
none of, there is a FOLDER/stat.PID for each of these, written anew ten times a second, to be mounted over
/proc/PID/stat. LATER of the guests begin to be seen on SIGUSR1, all at once. FOLDER/fleet.json tells when all are
up; on SIGTERM it is told there how they fared. On SIGUSR2 FOLDER/counts.json tells how often each command has come.
"""

import asyncio
import ctypes
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from autoballoon.core.units import MIB
from autoballoon.guests.fake import FakeGuest
from tests.guests.fake_qmp import FakeQemu

STEP_S = 0.1
IDLE_NEED, TAKES, RATE = 100 * MIB, 250 * MIB, 150 * MIB
PERIOD_S, HOLDS_S = 12.0, 3.0
"""One wave: 1.7 s of growing, HOLDS_S of use, at once free again, and rest."""
_PR_SET_PDEATHSIG = 1


@dataclass
class Sitter:
    """The process that stands for a guest's QEMU."""

    path: Path
    listener: socket.socket
    pid: int


def main() -> None:
    folder, guests, busy, later = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    program = folder / "qemu-fake"
    program.symlink_to(shutil.which("sleep") or "/bin/sleep")
    (folder / "later").mkdir()
    paths = [folder / f"g{n:04}.qmp" for n in range(guests)] + [
        folder / f"later/l{n:04}.qmp" for n in range(later)
    ]
    sitters = [_sitter(program, path) for path in paths]
    try:
        asyncio.run(_Fleet(folder, sitters, busy).run())
    finally:
        for sitter in sitters:
            os.kill(sitter.pid, signal.SIGKILL)
            os.waitpid(sitter.pid, 0)


def _sitter(program: Path, path: Path) -> Sitter:
    """A child that listens at `path` and sleeps; it ends when we do, and what connects is served by us."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        listener.listen(8)
        listener.set_inheritable(True)
        os.execv(program, ["qemu-fake", "infinity"])
    while Path(f"/proc/{pid}/exe").readlink().name == Path(sys.executable).resolve().name:
        time.sleep(0.0005)
    listener.setblocking(False)
    return Sitter(path, listener, pid)


class _Fleet:
    def __init__(self, folder: Path, sitters: list[Sitter], busy: int) -> None:
        now = time.monotonic()
        self._folder = folder
        self._sitters = sitters
        self._qemus = [
            FakeQemu(sitter.path, FakeGuest(sitter.path.stem, need=IDLE_NEED, born_at=now - 600))
            for sitter in sitters
        ]
        self._waves = [
            _Wave(qemu, folder / f"stat.{sitter.pid}", sitter.pid, PERIOD_S * number / max(busy, 1))
            for number, (qemu, sitter) in enumerate(zip(self._qemus[:busy], sitters, strict=False))
        ]

    async def run(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._show_more)
        loop.add_signal_handler(signal.SIGUSR2, self._count)
        for sitter, qemu in zip(self._sitters, self._qemus, strict=True):
            loop.add_reader(sitter.listener, lambda s=sitter, q=qemu: q.take_in(s.listener.accept()[0]))  # type: ignore[misc]
        for wave in self._waves:
            wave.step(time.monotonic())
        self._tell("fleet.json", pids=[wave.pid for wave in self._waves])
        while not stop.is_set():
            for wave in self._waves:
                wave.step(time.monotonic())
            await asyncio.sleep(STEP_S)
        self._tell(
            "fleet.json",
            starved_s=round(sum(wave.starved_s for wave in self._waves), 1),
        )

    def _show_more(self) -> None:
        for path in (self._folder / "later").iterdir():
            (self._folder / path.name).symlink_to(path)

    def _count(self) -> None:
        commands = Counter(command for qemu in self._qemus for command in qemu.commands)
        self._tell("counts.json", at=time.monotonic(), commands=commands)

    def _tell(self, name: str, **told: object) -> None:
        new = self._folder / f"{name}.new"
        new.write_text(json.dumps(told))
        new.rename(self._folder / name)


class _Wave:
    """One guest whose need comes and goes."""

    def __init__(self, qemu: FakeQemu, stat: Path, pid: int, offset_s: float) -> None:
        self.pid = pid
        self.starved_s = 0.0
        """Seconds in which it needed more than it had."""
        self._qemu = qemu
        self._begun = time.monotonic() - offset_s
        self._last = time.monotonic()
        self._cpu_s = 0.0
        before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        self._before, self._after = f"{before})", after.split()
        self._stat = os.open(stat, os.O_RDWR | os.O_CREAT)

    def step(self, now: float) -> None:
        at, guest = (now - self._begun) % PERIOD_S, self._qemu.guest
        takes_s = TAKES / RATE
        taken = at * RATE if at < takes_s else TAKES if at < takes_s + HOLDS_S else 0
        passed, self._last = now - self._last, now
        if at < takes_s + HOLDS_S:
            self._cpu_s += passed
        guest.advance(now)
        guest.need = IDLE_NEED + int(taken)
        if guest.actual < guest.need:
            self.starved_s += passed
        ticks = (
            f"{int(self._cpu_s * os.sysconf('SC_CLK_TCK')):012}"  # always as long, so as to be overwritten
        )
        os.pwrite(
            self._stat, " ".join([self._before, *self._after[:11], ticks, *self._after[12:]]).encode(), 0
        )


if __name__ == "__main__":
    main()
