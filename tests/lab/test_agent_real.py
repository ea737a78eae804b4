"""The agent in a real guest: it says that its guest runs short, and memory is given in a fraction of a second."""

import asyncio
import shutil
import statistics
import time
from pathlib import Path

import pytest

from autoballoon.core.units import MIB
from autoballoon.guests.agent_line import Word, read
from autoballoon.lab import ext4, packages
from autoballoon.lab.host import LabHost
from autoballoon.lab.image import build_image
from autoballoon.lab.userland import PYTHON, SIDES, agent_source, build_userland
from autoballoon.lab.vm import Accel, Event, Vm, VmSpec, agent_socket
from autoballoon.views.agents import SILENT_S
from autoballoon.views.status import Status

from .conftest import StartGuest
from .test_daemon_real import Daemon, daemon_on, is_below, named

pytestmark = [pytest.mark.lab, pytest.mark.alone]

HERE = Path(__file__).parent
AGENT = HERE.parents[1] / "guest/agent/autoballoon_agent.py"
HOST = 600 * MIB
"""Too small for the guest at its full size: otherwise it would be given that as soon as its rival is gone."""
SPIKES = 3
THRASHES_S = 4.0
"""So long something in the guest waits for memory while its agent is listened to."""
SMALL, SPIKE = 280 * MIB, 220 * MIB


def project_image(folder: Path) -> Path:
    """What the guest carries: the agent, its port's driver, and what takes memory."""
    content = folder / "project"
    shutil.copytree(HERE / "agent", content, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(AGENT, content)
    version, tree = packages.kernel_tree(print)
    (module,) = (tree / "lib/modules" / version).rglob("virtio_console.ko")
    shutil.copy(module, content)
    image = folder / "project.img"
    ext4.pack(content, image)
    return image


async def spike(daemon: Daemon, guest: Vm, start_guest: StartGuest) -> float | None:
    """Seconds from when the guest began to take memory until it was first given some; None: it had enough.

    Before, a rival has needed what it had to spare, and is gone: there is room, and nobody has been given it yet.
    """
    async with await start_guest("rival", workload="eat", memory_mib=256) as rival:
        await told(rival, "take 150")
        await daemon.until("the guest small", is_below("asks", SMALL), 60)
    settled = await daemon.until("the rival gone", lambda status: len(status.decisions) == 1)
    looked, target = len(daemon.seen), target_of(settled)
    guest.send(f"take {SPIKE // MIB}")
    began = (await guest.expect("taking", timeout=30)).at
    while not (given := any(target_of(one) > target for one in daemon.seen[looked:])):
        if guest.heard[-1].name == "answer":
            break
        await asyncio.sleep(0.002)
    waited = time.monotonic() - began
    await guest.expect("answer", timeout=60)
    await told(guest, "drop")
    return waited if given else None


async def told(guest: Vm, line: str) -> Event:
    guest.send(line)
    return await guest.expect("answer", timeout=60)


def target_of(status: Status) -> int:
    return next(told.target or 0 for told in status.decisions if told.guest == "asks")


async def test_a_guest_that_runs_short_is_heard_at_once(
    start_guest: StartGuest, lab_host: LabHost, tmp_path: Path
) -> None:
    lab_host.group.limit(HOST)
    guest = await start_guest(
        "asks", workload="inside", memory_mib=512, port=True,
        disks={"/userland": build_userland(PYTHON, print), "/userland/project": project_image(tmp_path)},
    )  # fmt: skip
    await guest.expect("up", timeout=60)
    async with daemon_on(lab_host, tmp_path, agents=True) as daemon:
        await daemon.until("the agent heard", lambda status: status.daemon.agents["asks"].lines > 2, 40)
        waits = [await spike(daemon, guest, start_guest) for _ in range(SPIKES)]
        print("spike to first granted page:", waits)
        needy = [wait for wait in waits if wait is not None]
        assert needy and statistics.median(needy) < 1.0
        assert any(status.daemon.tick.why == "asks says that it runs short" for status in daemon.seen)
        answer = await told(guest, "status")
        assert answer.data["code"] == 0 and answer.data["says"].startswith("squeezed: ")
        last = named(daemon.seen[-1], "asks")
        assert last is not None and last.psi_some_s is not None and last.swap_total == 0
        assert daemon.seen[-1].daemon.agents["asks"].dropped <= 1


class Lines:
    """What the agent of a guest says, heard without a daemon."""

    def __init__(self, socket: Path) -> None:
        self.heard: list[tuple[float, Word]] = []
        """With the time at which each came."""
        self._socket = socket

    async def __aenter__(self) -> "Lines":
        reader, self._writer = await asyncio.open_unix_connection(self._socket)
        self._task = asyncio.create_task(self._listen(reader))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        self._writer.close()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            if (word := read(line.rstrip())) is not None:
                self.heard.append((time.monotonic(), word))


async def test_an_agent_speaks_while_its_guest_thrashes(
    start_guest: StartGuest, lab_host: LabHost, tmp_path: Path
) -> None:
    guest = await start_guest(
        "asks", workload="inside", memory_mib=256, swap_mib=256, port=True,
        disks={"/userland": build_userland(PYTHON, print), "/userland/project": project_image(tmp_path)},
    )  # fmt: skip
    await guest.expect("up", timeout=60)
    async with Lines(agent_socket(guest.ctl)) as lines:
        while len(lines.heard) < 2:  # noqa: ASYNC110 - there is nothing to be woken by
            await asyncio.sleep(0.1)
        standing = (await told(guest, "standing")).data
        assert standing["locked_kib"] > 1024, "its memory stays where it is"
        assert (standing["nice"], standing["oom_score_adj"]) == (-15, -900)
        first = len(lines.heard)
        await told(guest, "thrash")
        began, waited_s = time.monotonic(), lines.heard[-1][1].psi_some_s or 0.0
        while (lines.heard[-1][1].psi_some_s or 0.0) < waited_s + THRASHES_S:
            assert time.monotonic() < began + 90, "it does not thrash"
            assert time.monotonic() < lines.heard[-1][0] + SILENT_S, "it cannot speak any more"
            await asyncio.sleep(0.1)
        heard = [word for _, word in lines.heard[first:]]
        print(f"{len(heard)} lines in {time.monotonic() - began:.1f} s; at the last:", heard[-1])
        assert "pressure" in {word.why for word in heard}


async def test_a_guest_with_qemu_guest_agent_alone_is_read_through_that(
    lab_host: LabHost, accel: Accel, tmp_path: Path
) -> None:
    lab_host.group.limit(HOST)
    guest = await lab_host.start_vm(
        VmSpec(
            name="told",
            image=build_image(print, agent=agent_source()),
            accel=accel,
            memory_mib=256,
            port=True,
            side="qga",
            swap_mib=64,
            disks={"/userland": build_userland(SIDES, print)},
        )
    )
    assert guest.is_alive
    async with daemon_on(lab_host, tmp_path, agents=True) as daemon:
        status = await daemon.until("files read", lambda status: status.daemon.agents["told"].lines > 0, 40)
        assert status.daemon.agents["told"].through == "qga"
        seen = named(status, "told")
        assert seen is not None and seen.psi_some_s is not None and seen.refaults is not None
        assert seen.oom_kills == 0 and (seen.swap_total or 0) > 60 * MIB
        assert max(one.daemon.tick.late_s for one in daemon.seen) < 0.25, "nobody waits for it"
