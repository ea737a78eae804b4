"""doctor on real guests that each lack something, as a user calls it: without a daemon, and with one."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from autoballoon.lab.host import LabHost

from .conftest import StartGuest, all_of, qmp

pytestmark = pytest.mark.lab

FULL = (
    "virtio-balloon-pci,id=balloon0,deflate-on-oom=on,free-page-reporting=on,guest-stats-polling-interval=1"
)
GUESTS = {
    "full": FULL,
    "none": None,
    "rigid": "virtio-balloon-pci,deflate-on-oom=off,guest-stats-polling-interval=1",
    "mute": FULL.replace(",guest-stats-polling-interval=1", ""),
    "rare": FULL.replace("interval=1", "interval=60"),
}
LACKS = {
    "full": set(),
    "none": {"no-balloon"},
    "rigid": {"autodeflate-off", "reporting-off"},
    "mute": {"statistics-off"},
    "rare": {"statistics-rare"},
}


async def doctor(config: Path) -> tuple[int, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autoballoon", "doctor", "--config", str(config), "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out)


def lacks(told: dict[str, Any]) -> dict[str, set[str]]:
    """By guest, but for what every lab guest lacks: an agent that tells its kernel."""
    found: dict[str, set[str]] = {name: set() for name in GUESTS}
    for one in told["findings"]:
        if one["where"] in found and one["id"] != "kernel-unknown":
            found[one["where"]].add(one["id"])
    return found


async def test_what_guests_lack_is_found_and_nothing_is_changed(
    start_guest: StartGuest, lab_host: LabHost, tmp_path: Path
) -> None:
    started = (start_guest(name, balloon=balloon, memory_mib=256) for name, balloon in GUESTS.items())
    guests = dict(zip(GUESTS, await all_of(started), strict=True))
    await asyncio.sleep(3)  # three rounds of statistics
    config = tmp_path / "autoballoon.toml"
    config.write_text(
        f'[host]\ndry_run = true\n[connect]\nqmp = ["{lab_host.run}/ctl/*.qmp"]\n'
        f'[control]\nsocket = "{lab_host.run}/control.sock"\n'
    )

    code, told = await doctor(config)
    assert lacks(told) == LACKS
    assert code == 3
    assert told["facts"]["daemon"] is False
    full = next(one for one in told["facts"]["guests"] if one["name"] == "full")
    assert (full["pid"], full["driver"], full["vfio"], full["locked"]) == (guests["full"].pid, True, False, 0)
    async with qmp(guests["mute"]) as client:
        path = {"path": "/machine/peripheral/balloon0", "property": "guest-stats-polling-interval"}
        assert await client.execute("qom-get", path) == 0

    daemon = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autoballoon", "run", "--config", str(config)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        # The daemon switches statistics on; what the devices are like is seen on their command lines.
        found_by_daemon = {**LACKS, "mute": set()}
        for _ in range(100):
            await asyncio.sleep(0.2)
            code, told = await doctor(config)
            if told["facts"]["daemon"] and lacks(told) == found_by_daemon:
                break
        assert lacks(told) == found_by_daemon
        assert code == 3
        daemon.terminate()
        assert await asyncio.wait_for(daemon.wait(), 6) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            daemon.kill()
        await daemon.wait()
    await guests["none"].kill()
    await guests["rare"].kill()
    code, told = await doctor(config)
    assert code == 0, told["findings"]
