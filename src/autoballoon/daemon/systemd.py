"""What a service manager is told: sd_notify(3), one datagram for each word; nothing where none listens.

Lost words are no error of ours: the manager has its own timeouts, and a guest must not wait for it.
"""

import asyncio
import os
import socket
import time
from collections.abc import Mapping

STATUS_EVERY_S = 5.0
"""The STATUS sentence is for people, and each one wakes the manager."""


class Manager:
    """The service manager that started us, as `environment` names it. Construct it before any thread is started."""

    def __init__(self, environment: Mapping[str, str], pid: int | None = None) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        self.watchdog_s = _watchdog_s(environment, os.getpid() if pid is None else pid)
        """It kills us when it hears nothing for so long; None: it does not."""
        self._told = ""
        self._told_at = -1e9

    def ready(self) -> None:
        """We are up, or are done with a reload."""
        self._send("READY=1")

    def starting(self, for_s: float) -> None:
        """We are not up yet, and are heard again within `for_s`: until then the start is not late."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(for_s * 1e6)}")

    def reloading(self) -> None:
        """We read our configuration again; `ready` ends it. The time is for Type=notify-reload (systemd 253)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """We are leaving."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The watchdog may wait anew."""
        self._send("WATCHDOG=1")

    def status(self, sentence: str, now: float) -> None:
        """How we are, in one sentence; told when it is another than before, and not too often."""
        if sentence != self._told and now - self._told_at >= STATUS_EVERY_S:
            self._told, self._told_at = sentence, now
            self._send("STATUS=" + " ".join(sentence.split()))

    def close(self) -> None:
        """Let the socket go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, words: str) -> None:
        if self._address is None:
            return
        try:
            if self._socket is None:
                kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
                self._socket = socket.socket(socket.AF_UNIX, kind)
            self._socket.sendto(words.encode(), self._address)
        except OSError:
            self.close()


class Watchdog:
    """Tells the manager at half of its time that we live, as long as ticks end."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._ticked_at = -1e9
        self._interval_s = 0.0
        self._task: asyncio.Task[None] | None = None

    def ticked(self, interval_s: float) -> None:
        """A tick has ended, well or badly: who fails again and again is ended by the loop itself, in better order."""
        self._ticked_at, self._interval_s = asyncio.get_running_loop().time(), interval_s

    def start(self) -> None:
        """Begin, where the manager has a watchdog. Starting counts as the first tick."""
        if self._manager.watchdog_s is not None:
            self._ticked_at = asyncio.get_running_loop().time()
            self._task = asyncio.create_task(self._tell(self._manager.watchdog_s / 2))

    def close(self) -> None:
        """Tell no more."""
        if self._task is not None:
            self._task.cancel()

    async def _tell(self, every_s: float) -> None:
        now = asyncio.get_running_loop().time
        while True:
            # A tick each interval is what was promised; one that takes longer than a second interval hangs.
            if now() - self._ticked_at <= max(every_s, 2 * self._interval_s):
                self._manager.alive()
            await asyncio.sleep(every_s)


def _address(name: str) -> str | None:
    """A path, or with @ a name in the abstract namespace; other transports (vsock) are for virtual machines."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _watchdog_s(environment: Mapping[str, str], pid: int) -> float | None:
    """WATCHDOG_USEC, unless it is meant for another process (sd_watchdog_enabled(3))."""
    usec, meant = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (meant and meant != str(pid)):
        return None
    return int(usec) / 1e6
