"""The lab itself, on real guests: they boot, their balloons move, and nothing stays behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from qemu.qmp import QMPClient

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import KIB, MIB
from autoballoon.lab import tidy
from autoballoon.lab import vm as machines
from autoballoon.lab.accel import Accel, choose_accel
from autoballoon.lab.cache import cache_folder
from autoballoon.lab.host import LabHost
from autoballoon.lab.image import GuestImage
from autoballoon.lab.processes import identify
from autoballoon.lab.vm import Vm, VmSpec

from .conftest import StartGuest, qmp

pytestmark = pytest.mark.lab

BALLOON = "/machine/peripheral/balloon0"


async def until(what: str, reached: Callable[[], Awaitable[bool]], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not await reached():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.05)


async def resize(client: QMPClient, size: int) -> None:
    """Ask for a size, and wait until the guest has it, within 1 MiB."""

    async def is_there() -> bool:
        reply = await client.execute("query-balloon")
        return isinstance(reply, dict) and abs(reply["actual"] - size) <= MIB

    await client.execute("balloon", {"value": size})
    await until(f"{size // MIB} MiB", is_there)


def status_size(vm: Vm, field: str) -> int:
    """A field of QEMU's /proc/PID/status, bytes."""
    status = Path(f"/proc/{vm.pid}/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * KIB


def left_behind(pid: int) -> list[str]:
    """What a lab with that pid has left on this machine."""
    places = [
        tidy.NOTES / str(pid),
        tidy.NOTES / f"{pid}.json",
        *Path("/sys/fs/cgroup").glob(f"**/autoballoon-lab-{pid}"),
        cache_folder() / f"scratch-{pid}",
    ]
    swaps = [line for line in Path("/proc/swaps").read_text().splitlines() if f"swap-{pid}" in line]
    return [str(place) for place in places if place.exists()] + swaps


async def test_memory_comes_back_when_the_balloon_inflates(
    start_guest: StartGuest, lab_host: LabHost
) -> None:
    guest = await start_guest(workload="eat")
    guest.send("take 350")
    full = (await guest.expect("answer", timeout=30)).data
    guest.send("free")
    await guest.expect("answer", timeout=30)
    before, charged = status_size(guest, "RssAnon"), lab_host.group.usage()
    async with qmp(guest) as client:
        await resize(client, 262 * MIB)
        assert before - status_size(guest, "RssAnon") > 225 * MIB
        assert charged - lab_host.group.usage() > 200 * MIB
        await resize(client, 512 * MIB)
    guest.send("take 350")
    again = (await guest.expect("answer", timeout=30)).data
    assert again["trouble"] == ""
    assert abs(again["available"] - full["available"]) < 16 * MIB


async def test_statistics_arrive(start_guest: StartGuest) -> None:
    guest = await start_guest(workload="eat")

    async with qmp(guest) as client:

        async def reported() -> int:
            reply = await client.execute("qom-get", {"path": BALLOON, "property": "guest-stats"})
            assert isinstance(reply, dict)
            stats: dict[str, int] = reply["stats"]
            return stats["stat-available-memory"]

        async def has_statistics() -> bool:
            return 300 * MIB < await reported() < 512 * MIB

        async def fell() -> bool:
            return await reported() < 300 * MIB

        await client.execute(
            "qom-set", {"path": BALLOON, "property": "guest-stats-polling-interval", "value": 1}
        )
        await until("statistics", has_statistics)
        guest.send("take 200")
        await until("statistics that show what was taken", fell)


async def test_killed_while_it_inflates_a_guest_leaves_nothing(
    start_guest: StartGuest, lab_host: LabHost
) -> None:
    guest = await start_guest()
    async with qmp(guest) as client:
        await client.execute("balloon", {"value": 100 * MIB})
        await guest.kill()
    assert not guest.is_alive
    assert not guest.ctl.exists()
    assert lab_host.group.pids() == []
    with pytest.raises(CouldNot, match="ended before it said done"):
        await guest.expect("done", timeout=5)


async def test_a_guest_whose_kernel_panics_tells_what_it_said(start_guest: StartGuest) -> None:
    with pytest.raises(CouldNot, match="Kernel panic - not syncing"):
        await start_guest(boot=("rdinit=/none",))


async def test_a_guest_that_may_be_reset_boots_again(start_guest: StartGuest) -> None:
    guest = await start_guest(may_reset=True)
    async with qmp(guest) as client:
        await client.execute("system_reset")
        await guest.expect("ready", timeout=30)
    assert guest.is_alive


async def test_what_qemu_says_is_in_the_sentence(start_guest: StartGuest) -> None:
    with pytest.raises(CouldNot, match="'no-such-device' is not a valid device model name"):
        await start_guest(balloon="no-such-device")


def with_bad_reads(disk: Path, folder: Path) -> Path:
    """A disk like this one, but for four reads at 30 MiB, within its file, which fail (QEMU's driver blkdebug)."""
    once = f'[inject-error]\nevent = "read_aio"\nerrno = "5"\nonce = "on"\nsector = "{30 * MIB // 512}"\n'
    (folder / "faults").write_text(4 * once)
    return Path(f"blkdebug:{folder / 'faults'}:{disk}")


async def test_wave_runs_through_also_where_reads_fail(
    start_guest: StartGuest, image: GuestImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they do on a host that is out of memory when QEMU reads into the guest's."""
    real = machines.command  # blkdebug cannot leave locking off
    monkeypatch.setattr(
        machines, "command", lambda *a: [word.replace(",file.locking=off", "") for word in real(*a)]
    )
    shape = {
        "phases": 2,
        "period_ms": 1000,
        "anon_mib": 40,
        "reread_mib": 8,
        "file_mib": 60,
        "rate_mib": 100,
        "passes": 2,
    }
    disk = with_bad_reads(image.disk, tmp_path)
    guest = await start_guest(workload="wave", params=shape, disks={"/disk": disk})
    await guest.expect("filled", timeout=30)
    guest.send("go")
    done = await guest.expect("done", timeout=30)
    phases = [event.data for event in guest.heard if event.name == "phase"]
    assert [phase["n"] for phase in phases] == [0, 1]
    assert done.data["oom_kills"] == 0
    for phase in phases:
        slept = phase["wall_s"] - phase["busy_s"]
        assert 0 < phase["busy_s"] < phase["wall_s"]
        assert slept - phase["late_s"] <= 0.4, "40 MiB at 100 MiB/s are 0.4 s, part of it busy"
        assert 0 <= phase["late_s"] < slept
        parts = phase["take_s"] + phase["work_s"] + phase["reread_s"]
        assert phase["busy_s"] == pytest.approx(parts, abs=0.005)


async def test_a_killed_worker_is_told(start_guest: StartGuest) -> None:
    guest = await start_guest(workload="eat")
    for _ in range(2):
        guest.send("take 260")
    oom = await guest.expect("oom", timeout=60)
    assert oom.data["oom_kills"] == 1


async def test_a_guest_with_swap_of_its_own_swaps_instead(image: GuestImage, accel: Accel) -> None:
    async with LabHost(limit=None, swap=0, say=print) as host:
        guest = await host.start_vm(
            VmSpec(name="guest", image=image, accel=accel, workload="eat", swap_mib=256)
        )
        for _ in range(2):
            guest.send("take 260")
            assert (await guest.expect("answer", "oom", timeout=60)).name == "answer"
        disk = cache_folder() / f"scratch-{os.getpid()}" / "guest.swap"
        assert disk.stat().st_blocks * 512 > 32 * MIB
    assert left_behind(os.getpid()) == []


async def test_a_limited_host_swaps(image: GuestImage, accel: Accel) -> None:
    async with LabHost(limit=200 * MIB, swap=512 * MIB, say=print) as host:
        guest = await host.start_vm(VmSpec(name="guest", image=image, accel=accel, workload="eat"))
        guest.send("take 250")
        await guest.expect("answer", timeout=60)
        assert host.group.usage() <= 200 * MIB
        assert status_size(guest, "VmSwap") > 0
    assert left_behind(os.getpid()) == []


async def test_where_swap_is_impossible_nothing_stays() -> None:
    with pytest.raises(CouldNot, match=r"the swap file .* cannot be written"):
        async with LabHost(limit=None, swap=1 << 55, say=print):
            pass
    assert left_behind(os.getpid()) == []


async def test_kvm_asked_for_outright_is_refused_where_it_does_not_work(
    image: GuestImage, accel: Accel
) -> None:
    if accel.name == "kvm":
        pytest.skip("KVM works here")
    with pytest.raises(CouldNot, match=r"KVM does not work here .* use --accel tcg"):
        await choose_accel("kvm", image, print)


LAB = """
import asyncio, sys
from autoballoon.core.units import MIB
from autoballoon.lab.accel import TCG
from autoballoon.lab.host import LabHost
from autoballoon.lab.image import build_image
from autoballoon.lab.processes import identify
from autoballoon.lab.vm import VmSpec

async def main():
    async with LabHost(limit=None, swap=64 * MIB, say=print) as host:
        vm = await host.start_vm(VmSpec(name="guest", image=build_image(print), accel=TCG))
        print("up", vm.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def start_lab() -> tuple[subprocess.Popen[str], int]:
    """A lab in a process of its own, and its guest's pid."""
    lab = subprocess.Popen(
        [sys.executable, "-c", LAB], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert lab.stdout is not None
    for line in lab.stdout:
        if line.startswith("up "):
            return lab, int(line.split()[1])
    raise AssertionError(lab.communicate()[1])


def wait_until_gone(pid: int, within_s: float = 10.0) -> None:
    """A killed process leaves its group a moment before it leaves /proc."""
    deadline = time.monotonic() + within_s
    while identify(pid) is not None:
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_lab_that_is_ended_removes_everything(how: signal.Signals, image: GuestImage) -> None:
    lab, guest = start_lab()
    assert left_behind(lab.pid)
    lab.send_signal(how)
    lab.communicate(timeout=60)
    assert left_behind(lab.pid) == []
    wait_until_gone(guest)


def test_the_next_start_removes_what_a_killed_lab_left(image: GuestImage) -> None:
    lab, guest = start_lab()
    lab.kill()
    lab.communicate(timeout=60)
    assert left_behind(lab.pid)
    said = tidy.sweep()
    assert left_behind(lab.pid) == []
    assert any(f"swap-{lab.pid}" in sentence for sentence in said)
    wait_until_gone(guest)


async def test_a_lab_that_runs_is_not_swept(lab_host: LabHost) -> None:
    assert tidy.sweep() == []
    assert lab_host.group.exists()
