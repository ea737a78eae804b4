"""The controller of an arm: the installed `autoballoon run` with a config file, as a user would start it."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import KIB
from autoballoon.lab.writing import OUT, writing

_LINE = 4 * 1024 * KIB
_UP_WITHIN_S = 15.0
_GONE_WITHIN_S = 8.0
FLOOR = "12%"
"""Of a lab guest's 512 MiB: less than its kernel needs, so that need decides, and not a bound of ours."""
_HZ = os.sysconf("SC_CLK_TCK")


class Cost(msgspec.Struct, frozen=True):
    """What the controller took of the host while it ran."""

    cpu_s: float
    """User and system time (/proc/PID/stat)."""
    rss: int
    """Its largest resident size, bytes (VmHWM)."""


def config_text(
    *,
    capacity: str,
    run: Path,
    policy: str,
    overload: str = "host-swap",
    side: str | None = None,
    headroom: str | None = None,
) -> str:
    """The config file of the controller; everything not named stays at the product's default.

    Where guests are to be suspended in an overload, all of them opt in. `side`: what runs in the guests (agent, qga),
    and is to be heard. `headroom`: the most that each guest is given beyond its need.
    """
    quoted = {name: msgspec.json.encode(text).decode() for name, text in (
        ("capacity", capacity),
        ("qmp", str(run / "ctl" / "*.qmp")),
        ("socket", str(run / "control.sock")),
        ("policy", policy),
    )}  # fmt: skip
    choice = "" if overload == "host-swap" else f'overload = "{overload}"\n'
    opted_in = "may_suspend = true\n" if overload == "suspend" else ""
    bounded = "" if headroom is None else f'headroom = "{headroom}"\n'
    sockets = (
        "" if side is None else f"{side} = [{msgspec.json.encode(str(run / 'ctl' / f'*.{side}')).decode()}]\n"
    )
    return (
        f"[host]\ncapacity = {quoted['capacity']}\n{choice}\n[connect]\nqmp = [{quoted['qmp']}]\n{sockets}\n"
        f'[defaults]\nfloor = "{FLOOR}"\n{bounded}{opted_in}\n[control]\nsocket = {quoted["socket"]}\n\n'
        f"[policy]\nname = {quoted['policy']}\n"
    )


class Controller:
    """`async with Controller(...)`: up and answering inside, ended by SIGTERM; `cost` is known after that."""

    def __init__(self, *, text: str, run: Path, keep: Path, label: str, words: Sequence[str] = ()) -> None:
        """`text` is its config, `words` more words for its command line; `run` the run folder, `keep` the results
        folder that gets config and log as `label`."""
        self._socket = run / "control.sock"
        self._config = keep / f"controller-{label}.toml"
        self._log = keep / f"controller-{label}.log"
        self._text = text
        self._words = tuple(words)
        self._process: asyncio.subprocess.Process | None = None
        self.cost: Cost | None = None
        self.died: str | None = None
        """One sentence when it ended before it was told to, or otherwise than it should then."""

    async def __aenter__(self) -> Self:
        with writing(self._config, OUT):
            self._config.write_text(self._text)
        program = Path(sys.executable).with_name("autoballoon")
        if not program.exists():
            raise CouldNot(
                f"{program} is missing; install autoballoon into the environment that runs the lab"
            )
        with writing(self._log, OUT):
            kept = self._log.open("wb")
        with kept as log:
            # A lab that is killed outright leaves no controller behind.
            self._process = await asyncio.create_subprocess_exec(
                "setpriv", "--pdeathsig", "KILL", program, "run", "--config", self._config, *self._words,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            await self._answers()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _answers(self) -> None:
        until = time.monotonic() + _UP_WITHIN_S
        while time.monotonic() < until:
            if self._process is None or self._process.returncode is not None:
                raise CouldNot(f"the controller ended at once: {self._last_words()}")
            with contextlib.suppress(OSError, EOFError, msgspec.DecodeError, TimeoutError):
                async with asyncio.timeout(1.0):
                    if await self._first_answer("status"):
                        return
            await asyncio.sleep(0.1)
        raise CouldNot(f"the controller did not answer within {_UP_WITHIN_S:.0f} s: {self._last_words()}")

    async def _first_answer(self, verb: str) -> bool:
        async for _ in self._ask(verb):
            return True
        return False

    async def _ask(self, verb: str) -> Any:
        """Every `data` the control socket answers with."""
        reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=_LINE)
        try:
            writer.write(msgspec.json.encode({"v": 1, "id": 1, "do": verb, "args": {}}) + b"\n")
            await writer.drain()
            while line := await reader.readline():
                reply = msgspec.json.decode(line)
                if reply.get("ok"):
                    yield reply["data"]
        finally:
            writer.close()

    async def ticks(self) -> Any:
        """One status per tick, as the control socket's `watch` tells it, until the controller ends."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            async for data in self._ask("watch"):
                yield data

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else f"it said nothing; see {self._config}"

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is not None:
            self.died = f"the controller ended by itself: {self._last_words()}"
            return
        self.cost = cost_of(process.pid)
        process.terminate()
        try:
            async with asyncio.timeout(_GONE_WITHIN_S):
                await process.wait()
        except TimeoutError:
            self.died = f"the controller did not end within {_GONE_WITHIN_S:.0f} s of SIGTERM and was killed"
            process.kill()
            await process.wait()
            return
        if process.returncode != 0:
            self.died = f"the controller ended with {process.returncode} when it was told to end: {self._last_words()}"


def cost_of(pid: int, root: Path = Path("/")) -> Cost | None:
    """CPU seconds and peak size of a process, None when it is gone (proc(5): stat fields 14 and 15, status VmHWM)."""
    try:
        fields = (root / f"proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = (root / f"proc/{pid}/status").read_text()
    except OSError:
        return None
    peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), "0")
    return Cost(cpu_s=(int(fields[11]) + int(fields[12])) / _HZ, rss=int(peak) * KIB)
