"""The first hour on a host: a dry run that only looks, and the powers that the unit leaves to the daemon."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from qemu.qmp import QMPClient

from autoballoon.core.units import MIB
from autoballoon.lab.host import LabHost

from .conftest import StartGuests, qmp
from .test_daemon_real import Daemon, is_seen, named, take

pytestmark = pytest.mark.lab

BALLOON = "/machine/peripheral/balloon0"
UNIT = Path(__file__).resolve().parents[2] / "packaging/autoballoon.service"


async def polling(client: QMPClient) -> object:
    return await client.execute("qom-get", {"path": BALLOON, "property": "guest-stats-polling-interval"})


async def size(client: QMPClient) -> int:
    reply = await client.execute("query-balloon")
    assert isinstance(reply, dict)
    return int(reply["actual"])


async def test_a_dry_run_switches_statistics_on_says_so_moves_nothing_and_switches_them_off(
    start_guests: StartGuests, lab_host: LabHost, tmp_path: Path
) -> None:
    lab_host.group.limit(900 * MIB)
    busy, idle = await start_guests("busy", "idle", workload="eat")
    daemon = Daemon(lab_host, tmp_path)
    daemon.config.write_text(daemon.config.read_text().replace("[host]\n", "[host]\ndry_run = true\n"))
    async with qmp(busy) as to_busy, qmp(idle) as to_idle:
        for client, before in ((to_busy, 0), (to_idle, 7)):
            await client.execute(
                "qom-set", {"path": BALLOON, "property": "guest-stats-polling-interval", "value": before}
            )
        sizes = [await size(client) for client in (to_busy, to_idle)]
        await daemon.start()
        try:
            await daemon.until("statistics", is_seen("busy", "idle"))
            assert (await polling(to_busy), await polling(to_idle)) == (1, 7)
            await take(busy, 250)
            await daemon.until("a wish to shrink", lambda status: "idle: 512 -> " in daemon.log.read_text())
        finally:
            code = await daemon.end()
        assert code == 0
        assert (await polling(to_busy), await polling(to_idle)) == (0, 7)
        assert [await size(client) for client in (to_busy, to_idle)] == sizes
    log = daemon.log.read_text()
    first = log.splitlines()[0]
    assert re.search(r"INFO DRY RUN: .*statistics.*switched on.*off again", first), first
    assert re.search(r"INFO DRY RUN: idle: \d+ -> \d+ MiB", log)


class Confined(Daemon):
    """A daemon with what the unit leaves of root's powers, as far as that can be had without systemd; traced."""

    def __init__(self, host: LabHost, folder: Path) -> None:
        super().__init__(host, folder)
        self.calls = folder / "calls"

    def command(self) -> list[str]:
        (held,) = re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)
        powers = ",".join(f"+{power.removeprefix('CAP_').lower()}" for power in held.split())
        return [
            *("setpriv", f"--bounding-set=-all,{powers}", "--inh-caps=-all", "--no-new-privs"),
            *("strace", "-f", "-qq", "-c", "-o", str(self.calls)),
            *super().command(),
        ]


def allowed() -> set[str]:
    """The system calls that the unit lets through, by systemd's own lists."""
    assert shutil.which("systemd-analyze")
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True
    ).stdout
    groups: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("@"):
            members = groups.setdefault(line.split()[0], [])
        elif line.startswith("    ") and not line.lstrip().startswith("#"):
            members.append(line.strip())

    def calls(name: str) -> set[str]:
        if not name.startswith("@"):
            return {name}
        return {call for member in groups[name] for call in calls(member)}

    through: set[str] = set()
    for value in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        named_calls = {call for name in value.removeprefix("~").split() for call in calls(name)}
        through = through - named_calls if value.startswith("~") else through | named_calls
    return through


def child_of(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


async def test_it_does_its_work_with_the_powers_that_the_unit_leaves_it(
    start_guests: StartGuests, lab_host: LabHost, tmp_path: Path
) -> None:
    for tool in ("setpriv", "strace", "systemd-analyze"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    lab_host.group.limit(900 * MIB)
    busy, _ = await start_guests("busy", "idle", workload="eat")
    daemon = Confined(lab_host, tmp_path)
    await daemon.start()
    try:
        await daemon.until("statistics", is_seen("busy", "idle"))
        await take(busy, 250)
        status = await daemon.until(
            "a squeezed guest",
            lambda status: (g := named(status, "idle")) is not None and g.actual < 400 * MIB,
        )  # at once, for both do not fit; what follows may be slow, for then nobody is short
        await asyncio.sleep(3)  # huge pages are looked after, alarms are set
        assert status.daemon.problems == ()
        assert all(guest.resident is not None for guest in status.snapshot.guests)
    finally:
        os.kill(child_of(daemon.process.pid), signal.SIGTERM)  # strace passes nothing on
        async with asyncio.timeout(20):
            assert await daemon.process.wait() == 0
    lines = daemon.calls.read_text().splitlines()[2:-2]
    used = {line.split()[-1] for line in lines}
    assert "process_madvise" in used or "pidfd_open" in used
    # What it does before the filter is there, and what it may be refused: it runs at nice -10 already.
    assert used - allowed() - {"execve", "setpriority"} == set()
