"""The host's own load: a process that takes memory in the guests' group while they work."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from autoballoon.lab.beside import beside
from autoballoon.lab.experiments import HostLoad
from autoballoon.lab.group import ENVIRONMENT


@contextlib.asynccontextmanager
async def host_load(
    load: HostLoad | None, procs: Sequence[Path], took: Callable[[int], None], note: Callable[[str], None]
) -> AsyncIterator[None]:
    """Take the memory some time into the block and keep it until the block ends; without a load, nothing.

    `took` is told how many bytes once the process has all;
    `note` when the process ended before it was ended: then the run did not measure what it says.
    """
    if load is None:
        yield
        return
    async with beside(_take(load, procs, took, note)):
        yield


async def _take(
    load: HostLoad, procs: Sequence[Path], took: Callable[[int], None], note: Callable[[str], None]
) -> None:
    await asyncio.sleep(load.after_go_s)
    hog = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "autoballoon.lab.hog",
        str(load.mib), str(load.over_s), *map(str, procs),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    try:
        assert hog.stdout is not None
        if said := await hog.stdout.readline():
            took(int(said.removeprefix(b"taken ")))
        await hog.wait()
        note(f"the host's process that takes {load.mib} MiB ended before the guests did")
    finally:
        with contextlib.suppress(ProcessLookupError):
            hog.kill()
        await hog.wait()
