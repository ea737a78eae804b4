"""What agents that flood, lie or never end a line cost the daemon: its processor time, less that with honest ones.

The installed `autoballoon run` looks at eight fake guests on real sockets. Each has an agent's socket of ours; what is
behind it is this process: honest (a line a second), then of one guest and then of all eight

    flood     valid lines, as many as the socket takes
    pressure  ten lines a second that say the guest runs short, and that something waited for memory
    lies      as many lines as the socket takes that no guest can have sent: endless memory, counters that fall
    long      lines of 10 MiB, as fast as the socket takes them
    noise     bytes that are no lines
    empty     lines of nothing, as many as the socket takes
    dribble   bytes one by one, as many as the socket takes, and no end of a line
    qga       instead of the agent: a qemu-guest-agent that answers each question with 10 MiB
    qga-drip  one that answers with bytes one by one, and no end of a line

EXTRA is the most that one of them may take: five of a hundred parts of a processor.

    bench/hostile.py [--seconds 20] [--kinds flood,long] [PROGRAM]
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
GUESTS = 8
EXTRA = 0.05
SETTLE_S, SWITCH_S, UP_WITHIN_S = 8.0, 6.0, 30.0
"""Before the first measurement; before each other: a connection that was lost is tried again within 5 s."""
HZ = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20

Behave = Callable[[socket.socket, Callable[[], bool]], None]


def line(seq: int, why: str = "tick", **fields: object) -> bytes:
    """A line of an agent."""
    told = {"v": 1, "seq": seq, "why": why, "total": 480 * MIB, "available": 200 * MIB, **fields}
    return json.dumps(told).encode() + b"\n"


def honest(client: socket.socket, goes_on: Callable[[], bool]) -> None:
    seq = 0
    while goes_on():
        seq += 1
        client.sendall(line(seq, swap_total=0, swap_used=0, refaults=seq, psi_some_s=0.0))
        time.sleep(1)


def pressure(client: socket.socket, goes_on: Callable[[], bool]) -> None:
    seq = 0
    while goes_on():
        seq += 1
        client.sendall(line(seq, "pressure", available=0, psi_some_s=seq * 0.1, refaults=seq * 10**6))
        time.sleep(0.1)


def flood(client: socket.socket, goes_on: Callable[[], bool]) -> None:
    seq = 0
    while goes_on():
        client.sendall(b"".join(line(n, "pressure", psi_some_s=float(n)) for n in range(seq, seq + 500)))
        seq += 500


def lies(client: socket.socket, goes_on: Callable[[], bool]) -> None:
    odd = (
        line(5, total=1 << 62), line(4, available=1 << 60), line(10**30), line(3, refaults=-1),
        line(2, swap_total=1, swap_used=1 << 50), b'{"v":1,"seq":1e400}\n', b"[" * 4000 + b"\n",
    )  # fmt: skip
    while goes_on():
        client.sendall(b"".join(odd) * 100)


def long(client: socket.socket, goes_on: Callable[[], bool]) -> None:
    part = b"x" * MIB
    while goes_on():
        for _ in range(10):
            client.sendall(part)
        client.sendall(b"\n")


def noise(client: socket.socket, goes_on: Callable[[], bool]) -> None:
    part = random.Random(1).randbytes(MIB)
    while goes_on():
        client.sendall(part)


def empty(client: socket.socket, goes_on: Callable[[], bool]) -> None:
    while goes_on():
        client.sendall(b"\n" * MIB)


def dribble(client: socket.socket, goes_on: Callable[[], bool]) -> None:
    while goes_on():
        client.sendall(b"x")


def qga(client: socket.socket, goes_on: Callable[[], bool]) -> None:
    while goes_on() and client.recv(4096):
        client.sendall(b"\xff" + b"[" * MIB + b"\n" + b'{"return":1}\n' * MIB)


QGA: dict[str, Behave] = {"qga": qga, "qga-drip": dribble}
KINDS: dict[str, Behave] = {
    "flood": flood, "pressure": pressure, "lies": lies, "long": long, "noise": noise, "empty": empty,
    "dribble": dribble, **QGA,
}  # fmt: skip


class Peer:
    """One socket; whoever connects is served by `behave`, until that is another."""

    def __init__(self, path: Path, behave: Behave | None) -> None:
        self._behave = behave
        self._turn = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(4)
        self._client: socket.socket | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def become(self, behave: Behave | None) -> None:
        """None: it says nothing."""
        if behave is self._behave:
            return
        self._behave, self._turn = behave, self._turn + 1
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while True:
            self._client, _ = self._listener.accept()
            turn, behave = self._turn, self._behave
            with contextlib.suppress(OSError):
                if behave is None:
                    self._client.recv(1)
                else:
                    behave(self._client, lambda turn=turn: turn == self._turn)  # type: ignore[misc]
            self._client.close()


@contextlib.contextmanager
def running(program: str, folder: Path) -> Iterator[int]:
    """The fake guests and the daemon; its pid."""
    config = folder / "config.toml"
    config.write_text(
        f'[host]\ncapacity = "2600MiB"\n[connect]\nqmp = ["{folder}/*.qmp"]\nagent = ["{folder}/*.agent"]\n'
        f'qga = ["{folder}/*.qga"]\n[control]\nsocket = "{folder}/control.sock"\n'
    )
    fleet = [sys.executable, "-m", "tests.guests.fleet", str(folder), str(GUESTS), "0", "0"]
    with subprocess.Popen(fleet, cwd=ROOT) as crowd:
        try:
            until((folder / "fleet.json").exists)
            with (
                (folder / "log").open("wb") as log,
                subprocess.Popen(
                    [program, "run", "--config", str(config)], stdout=log, stderr=log
                ) as process,
            ):
                try:
                    until((folder / "control.sock").exists)
                    yield process.pid
                    if process.poll() is not None:
                        raise SystemExit(f"the daemon ended: {(folder / 'log').read_text()[-500:]}")
                finally:
                    process.terminate()
        finally:
            crowd.send_signal(signal.SIGTERM)


def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + UP_WITHIN_S
    while not there():
        if time.monotonic() > deadline:
            raise SystemExit(f"the daemon or its guests did not come up within {UP_WITHIN_S:.0f} s")
        time.sleep(0.1)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HZ


def rss_mib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(words.split()[1]) // 1024 for words in lines if words.startswith("VmRSS:"))


def share(pid: int, seconds: float) -> float:
    """Of one processor."""
    began, had_s = time.monotonic(), cpu_s(pid)
    time.sleep(seconds)
    return (cpu_s(pid) - had_s) / (time.monotonic() - began)


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--seconds", type=float, default=20.0)
    parse.add_argument("--kinds", default=",".join(KINDS))
    parse.add_argument("program", nargs="?", default=str(Path(sys.executable).with_name("autoballoon")))
    told = parse.parse_args()
    with tempfile.TemporaryDirectory(prefix="autoballoon-bench-") as name:
        folder = Path(name)
        agents = [Peer(folder / f"g{number:04}.agent", honest) for number in range(GUESTS)]
        qgas = [Peer(folder / f"g{number:04}.qga", None) for number in range(GUESTS)]
        with running(told.program, folder) as pid:
            time.sleep(SETTLE_S)
            base = share(pid, told.seconds)
            print(f"{GUESTS} guests, agents honest: {base:.2%} of one core, {rss_mib(pid)} MiB")
            for kind in told.kinds.split(","):
                for hostile in (1, GUESTS):
                    for number in range(GUESTS):
                        is_hostile = number < hostile
                        agents[number].become(
                            honest if not is_hostile else None if kind in QGA else KINDS[kind]
                        )
                        qgas[number].become(QGA.get(kind) if is_hostile else None)
                    time.sleep(SWITCH_S)
                    extra = share(pid, told.seconds) - base
                    verdict = "reached" if extra < EXTRA else "MISSED" if hostile == 1 else "more"
                    print(
                        f"{kind:<9} of {hostile}: {extra:+.2%} of one core, {rss_mib(pid)} MiB"
                        f"  under {EXTRA:.0%}: {verdict}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
