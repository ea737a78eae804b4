"""The guests' balloon driver in a real guest: what it frees, what it tells, what it leaves behind."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from qemu.qmp import QMPClient

from autoballoon.core.units import MIB
from autoballoon.lab import newc, packages
from autoballoon.lab.accel import Accel
from autoballoon.lab.commands import run
from autoballoon.lab.driver import build_driver
from autoballoon.lab.host import LabHost
from autoballoon.lab.image import GuestImage
from autoballoon.lab.vm import Vm, VmSpec
from tests.lab.conftest import qmp

pytestmark = pytest.mark.lab

MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
)
SHELL = rb"""#!/bin/busybox sh
# Runs each line of the console, and tells what it printed.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t debugfs debugfs /sys/kernel/debug
mkdir -p /tmp && mount -t tmpfs tmpfs /tmp
D=/sys/kernel/debug/autoballoon/virtio
echo; echo '@ab {"event": "ready"}'
while read -r line; do
    eval "$line" > /tmp/said 2>&1
    code=$?
    said=$(tr '"\\\t\r' "''  " < /tmp/said | tr '\n' '|')
    echo "@ab {\"event\": \"answer\", \"code\": $code, \"says\": \"$said\"}"
done
"""
EAT = b"""
#include <stdlib.h>
#include <sys/mman.h>
int main(int count, char **words)
{
	for (long i = count > 1 ? atol(words[1]) : 0; i > 0; i--) {
		volatile char *chunk = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (chunk == MAP_FAILED)
			return 1;
		for (int at = 0; at < 1 << 20; at += 4096)
			chunk[at] = 1;
	}
	return 0;
}
"""


@pytest.fixture(scope="module")
def driven(image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> GuestImage:
    """An image with a shell on the console and our driver, which nobody has loaded yet, beside Linux's own."""
    folder = tmp_path_factory.mktemp("driven")
    version, tree = packages.kernel_tree(print)
    modules = {
        name: next((tree / "lib" / "modules" / version).rglob(f"{name}.ko")).read_bytes()
        for name in (*MODULES, "virtio_balloon")
    }
    modules["autoballoon"] = build_driver(print, test_build=True).read_bytes()
    (folder / "eat.c").write_bytes(EAT)
    run(["gcc", "-O1", "-static", "-o", folder / "eat", folder / "eat.c"])
    busybox = packages.unpacked("busybox-static", print) / "bin" / "busybox"
    init = (Path(__file__).parents[2] / "src" / "autoballoon" / "lab" / "guest" / "init").read_bytes()
    files = {
        **{name: newc.folder() for name in ("bin", "dev", "proc", "sys", "disk", "modules", "userland")},
        "init": newc.program(init),
        "bin/busybox": newc.program(busybox.read_bytes()),
        "bin/eat": newc.program((folder / "eat").read_bytes()),
        "workload": newc.program(SHELL),
        **{f"modules/{name}": newc.program(content) for name, content in modules.items()},
        "modules/order": newc.program("".join(f"{name}\n" for name in MODULES).encode()),
    }
    (folder / "initrd").write_bytes(newc.archive(files))
    return GuestImage(
        kernel=image.kernel, initrd=folder / "initrd", disk=image.disk, kernel_version=image.kernel_version
    )


class Driven:
    """A guest with a shell and its QMP session."""

    def __init__(self, vm: Vm, session: QMPClient) -> None:
        self.vm = vm
        self.session = session

    async def sh(self, line: str, *, may_fail: bool = False, seconds: float = 60.0) -> str:
        """What `line` prints in the guest, lines parted by "|"."""
        self.vm.send(line)
        answer = await self.vm.expect("answer", timeout=seconds)
        assert may_fail or answer.data["code"] == 0, f"{line}: {answer.data}"
        return str(answer.data["says"])

    async def load(self, options: str = "") -> None:
        """Put our driver in, and remember where its counters are."""
        await self.sh(f"insmod /modules/autoballoon {options}; D=$(echo /sys/kernel/debug/autoballoon/*)")

    async def counters(self) -> dict[str, int]:
        said = await self.sh("cat $D/counters")
        return {name: int(value) for name, value in (line.split() for line in said.strip("|").split("|"))}

    async def free_kib(self) -> int:
        return int((await self.sh("awk '/MemFree/{print $2}' /proc/meminfo")).strip("| "))

    async def actual(self) -> int:
        answer = await self.session.execute("query-balloon")
        assert isinstance(answer, dict)
        return int(answer["actual"])

    async def become(self, size_mib: int, seconds: float = 10.0) -> float:
        """Ask for a size and wait until the guest has it; how long that took."""
        begun = time.monotonic()
        await self.session.execute("balloon", {"value": size_mib * MIB})
        while await self.actual() != size_mib * MIB:
            assert time.monotonic() - begun < seconds, f"it is at {await self.actual() / MIB} MiB"
            await asyncio.sleep(0.02)
        return time.monotonic() - begun

    async def settle(self, size: int, seconds: float = 5.0) -> None:
        """Wait until QEMU shows this size, which the guest has reached by itself."""
        begun = time.monotonic()
        while await self.actual() != size:
            assert time.monotonic() - begun < seconds, f"it is at {await self.actual() / MIB} MiB"
            await asyncio.sleep(0.02)

    async def complaints(self) -> str:
        """What the kernel has to say against us."""
        return await self.sh(
            "dmesg | grep -iE 'warn|bug:|bug at|oops|call trace|rip:|leak|bad page|kasan' ", may_fail=True
        )


def device(**options: str) -> str:
    return ",".join(
        [
            "virtio-balloon-pci,id=balloon0",
            *(f"{name.replace('_', '-')}={value}" for name, value in options.items()),
        ]
    )


@pytest.fixture
async def guest(
    request: pytest.FixtureRequest, lab_host: LabHost, driven: GuestImage, accel: Accel
) -> AsyncIterator[Driven]:
    balloon = getattr(request, "param", device(deflate_on_oom="on", free_page_reporting="on"))
    vm = await lab_host.start_vm(VmSpec(name="driven", image=driven, accel=accel, balloon=balloon))
    async with qmp(vm) as session:
        yield Driven(vm, session)


async def test_the_scan_function_frees_exactly_what_is_asked_for(guest: Driven) -> None:
    """1, 128, the whole balloon, and more than that: the seed's driver freed the complement, and nothing of all."""
    await guest.load("deflate=shrinker")
    await guest.become(200)
    held = (await guest.counters())["held"]
    assert held == 312 * MIB // 4096
    for asked in (1, 128):
        await guest.sh(f"echo {asked} > $D/scan")
        held -= asked
        assert (await guest.sh("tail -n 1 $D/calls")).strip("|") == f"{asked} {asked}"
        assert (await guest.counters())["held"] == held
        await guest.settle(512 * MIB - held * 4096)
    await guest.sh(f"echo {held} > $D/scan")
    assert (await guest.sh("tail -n 1 $D/calls")).strip("|") == f"{held} {held}"
    await guest.settle(512 * MIB)
    await asyncio.sleep(1.0)
    assert await guest.actual() == 512 * MIB, (
        "the old target, which still stands, was followed behind its back"
    )
    await guest.become(200)  # a new decision, be it for the same size
    await guest.sh("echo 999999 > $D/scan")
    assert (await guest.sh("tail -n 1 $D/calls")).strip("|") == f"999999 {312 * MIB // 4096}"
    await guest.settle(512 * MIB)
    assert await guest.complaints() == ""


@pytest.mark.parametrize("mode", ["shrinker", "pressure"])
async def test_a_spike_is_met_before_a_process_is_killed(guest: Driven, mode: str) -> None:
    await guest.load(f"deflate={mode}")
    await guest.become(150)
    await guest.sh("eat 200")
    assert "Killed process" not in await guest.sh("dmesg")
    assert await guest.actual() > 200 * MIB
    assert (await guest.counters())["oom_calls"] == 0, "reclaim asked in time"


@pytest.mark.parametrize("guest", [device(deflate_on_oom="off")], indirect=True)
async def test_without_the_bit_it_keeps_its_balloon(guest: Driven) -> None:
    await guest.load("deflate=shrinker")
    await guest.become(150)
    total = int((await guest.sh("awk '/MemTotal/{print $2}' /proc/meminfo")).strip("| "))
    assert total < 150 * 1024, "what is in the balloon is no memory of the guest"
    await guest.sh("eat 200", may_fail=True)
    assert "Killed process" in await guest.sh("dmesg")
    assert await guest.actual() == 150 * MIB


async def test_page_cache_does_not_dissolve_the_balloon_in_mode_pressure(guest: Driven) -> None:
    await guest.load()
    assert (await guest.sh("cat /sys/module/autoballoon/parameters/deflate")).strip("|") == "pressure"
    await guest.become(150)
    await guest.sh("cat /disk/data > /dev/null")
    counters = await guest.counters()
    assert counters["calm"] > 0, "reclaim asked"
    assert counters["freed"] == 0
    assert await guest.actual() == 150 * MIB


async def test_cycles_under_stress_leave_nothing_behind(guest: Driven, soak_minutes: float) -> None:
    """Random targets while the guest takes memory and reads files; then in and out, and all of its memory is back."""
    await guest.sh("cat /disk/data > /dev/null; echo 3 > /proc/sys/vm/drop_caches")
    before = await guest.free_kib()
    await guest.load()
    chance = random.Random(1)
    await guest.sh("(while :; do eat 60; cat /disk/data > /dev/null; done) > /dev/null 2>&1 & JOB=$!")
    for _ in range(1000 if soak_minutes else 30):
        await guest.session.execute("balloon", {"value": chance.randrange(120, 512) * MIB})
        await asyncio.sleep(chance.random() * 0.3)
    for _ in range(50 if soak_minutes else 3):
        await guest.session.execute("balloon", {"value": 200 * MIB})
        await asyncio.sleep(0.2)
        await guest.sh("rmmod autoballoon && insmod /modules/autoballoon")
    await guest.sh("kill $JOB; sleep 0.5; killall eat cat; sleep 0.5; rmmod autoballoon", may_fail=True)
    await guest.sh("! lsmod | grep -q autoballoon; echo 3 > /proc/sys/vm/drop_caches; sleep 0.5")
    after = await guest.free_kib()
    assert abs(after - before) <= before / 100
    assert await guest.actual() == 512 * MIB
    assert await guest.complaints() == ""


@pytest.mark.parametrize("sleep", ["freeze", "mem"])
async def test_over_a_sleep_pages_are_the_guests_and_the_target_is_followed_after_it(
    guest: Driven, sleep: str
) -> None:
    """Suspend to idle, which a key ends, and to RAM, where QEMU resets every device."""
    await guest.load("deflate=shrinker")
    await guest.become(200)
    await guest.sh("echo 1000 > $D/scan")
    await guest.settle(200 * MIB + 1000 * 4096)
    await guest.sh("echo enabled > /sys/class/tty/ttyS0/power/wakeup")
    guest.vm.send(f"echo {sleep} > /sys/power/state")
    await guest.settle(512 * MIB)
    if sleep == "freeze":
        await asyncio.sleep(2.0)
        guest.vm.send("true")
    else:
        begun = time.monotonic()
        while (await status(guest)) != "suspended":
            assert time.monotonic() - begun < 10.0
            await asyncio.sleep(0.05)
        await guest.session.execute("system_wakeup")
    answer = await guest.vm.expect("answer", timeout=30.0)
    assert answer.data["code"] == 0, answer.data
    guest.vm.send("echo awake")
    while "awake" not in answer.data["says"]:  # the key that woke it may be an answer too
        answer = await guest.vm.expect("answer", timeout=30.0)
    await guest.settle(200 * MIB)
    assert (await guest.counters())["held"] == 312 * MIB // 4096
    await guest.sh("echo 128 > $D/scan")
    await guest.settle(200 * MIB + 128 * 4096)
    await guest.sh("rmmod autoballoon")
    await guest.settle(512 * MIB)
    assert await guest.complaints() == ""


async def status(guest: Driven) -> str:
    """QEMU's word for the state of the machine."""
    answer = await guest.session.execute("query-status")
    assert isinstance(answer, dict)
    return str(answer["status"])


async def test_statistics_come_as_from_linux_own_driver(guest: Driven) -> None:
    await guest.load()
    path = "/machine/peripheral/balloon0"
    await guest.session.execute(
        "qom-set", {"path": path, "property": "guest-stats-polling-interval", "value": 1}
    )
    await asyncio.sleep(1.5)
    ours = await guest.session.execute("qom-get", {"path": path, "property": "guest-stats"})
    await guest.sh("rmmod autoballoon; insmod /modules/virtio_balloon")
    await asyncio.sleep(2.5)
    stock = await guest.session.execute("qom-get", {"path": path, "property": "guest-stats"})
    assert isinstance(ours, dict) and isinstance(stock, dict)
    unknown = 2**64 - 1
    assert {n for n, v in ours["stats"].items() if v != unknown} == {
        n for n, v in stock["stats"].items() if v != unknown
    }
    assert ours["stats"]["stat-total-memory"] == stock["stats"]["stat-total-memory"]
