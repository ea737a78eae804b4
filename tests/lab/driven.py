"""A guest with a shell on its console, in which our driver and Linux's own can be loaded and looked at."""

import asyncio
import time
from pathlib import Path
from typing import NamedTuple

from qemu.qmp import QMPClient

from autoballoon.core.units import MIB
from autoballoon.lab import newc, packages
from autoballoon.lab.commands import run
from autoballoon.lab.driver import build_driver
from autoballoon.lab.image import GuestImage
from autoballoon.lab.vm import Vm

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
MARK = "autoballoon-begins"
USUAL = "|".join(
    (
        MARK,
        "loading out-of-tree",
        "module verification failed",
        "Free page reporting enabled",
        "drop_caches: 3",
        "crng init done",
        "hrtimer: interrupt took",  # on a host that is busy with other things, as the next
        "clocksource: Long readout interval",
    )
)
"""What the kernel says, as extended regular expressions, though nothing is wrong."""
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


def driven_image(image: GuestImage, folder: Path) -> GuestImage:
    """An image with a shell on the console and our driver, which nobody has loaded yet, beside Linux's own.

    Made in that empty folder; of `image` it has the kernel and the disk.
    """
    version, tree = packages.kernel_tree(print)
    found = {name: packages.kernel_module(version, tree, name) for name in (*MODULES, "virtio_balloon")}
    modules = {name: content for name, content in found.items() if content is not None}
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
        "modules/order": newc.program("".join(f"{name}\n" for name in MODULES if name in modules).encode()),
    }
    (folder / "initrd").write_bytes(newc.archive(files))
    return GuestImage(
        kernel=image.kernel, initrd=folder / "initrd", disk=image.disk, kernel_version=image.kernel_version
    )


def device(**options: str) -> str:
    """The balloon's device line with these properties."""
    return ",".join(
        [
            "virtio-balloon-pci,id=balloon0",
            *(f"{name.replace('_', '-')}={value}" for name, value in options.items()),
        ]
    )


class Kind(NamedTuple):
    """What a test wishes its guest to be."""

    balloon: str = device(deflate_on_oom="on", free_page_reporting="on")
    objects: tuple[str, ...] = ()
    """Of QEMU, which that line names."""
    boot: tuple[str, ...] = ()
    """Words for the kernel's command line."""
    cpus: int = 2
    """With one processor nobody ever finds a spinlock taken."""
    soak: bool = False
    """Only as part of a soak."""
    newer: bool = False
    """Only where $AUTOBALLOON_KERNEL names a kernel newer than 6.1."""


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
        await self.sh(
            f"echo {MARK} > /dev/kmsg; insmod /modules/autoballoon {options}; D=$(echo /sys/kernel/debug/autoballoon/*)"
        )

    async def counters(self) -> dict[str, int]:
        said = await self.sh("cat $D/counters")
        return {name: int(value) for name, value in (line.split() for line in said.strip("|").split("|"))}

    async def scan(self, pages: int) -> int:
        """How many pages the scan function frees that is asked for so many.

        It goes away with nothing, as it should, where another processor has the books open at that moment; then it is
        asked again, as reclaim would.
        """
        for _ in range(20):
            busy = (await self.counters())["busy"]
            await self.sh(f"echo {pages} > $D/scan")
            asked, freed = (int(word) for word in (await self.sh("tail -n 1 $D/calls")).strip("|").split())
            assert asked == pages
            if freed or (await self.counters())["busy"] == busy:
                return freed
        raise AssertionError("the books are always open")

    async def free_kib(self) -> int:
        return int((await self.sh("awk '/MemFree/{print $2}' /proc/meminfo")).strip("| "))

    async def total_kib(self) -> int:
        return int((await self.sh("awk '/MemTotal/{print $2}' /proc/meminfo")).strip("| "))

    async def actual(self) -> int:
        answer = await self.session.execute("query-balloon")
        assert isinstance(answer, dict)
        return int(answer["actual"])

    def resident(self) -> int:
        """What QEMU holds of the host's memory, in bytes."""
        status = Path(f"/proc/{self.vm.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    async def negotiated(self) -> set[str]:
        """The device's own feature bits on which the driver in the guest agreed, in QEMU's words."""
        path = "/machine/peripheral/balloon0/virtio-backend"
        status = await self.session.execute("x-query-virtio-status", {"path": path})
        assert isinstance(status, dict)
        return set(status["guest-features"]["dev-features"])

    async def become(self, size_mib: int, seconds: float = 30.0) -> float:
        """Ask for a size and wait until the guest has it; how long that took."""
        begun = time.monotonic()
        await self.session.execute("balloon", {"value": size_mib * MIB})
        while await self.actual() != size_mib * MIB:
            assert time.monotonic() - begun < seconds, await self.where()
            await asyncio.sleep(0.02)
        return time.monotonic() - begun

    async def settle(self, size: int, seconds: float = 30.0) -> None:
        """Wait until QEMU shows this size, which the guest has reached by itself."""
        begun = time.monotonic()
        while await self.actual() != size:
            assert time.monotonic() - begun < seconds, await self.where()
            await asyncio.sleep(0.02)

    async def where(self) -> str:
        """What its size is, for a test that waits for another in vain."""
        said = await self.sh("cat $D/counters", may_fail=True)
        return f"it is at {await self.actual() / MIB} MiB: {said}"

    async def complaints(self) -> str:
        """What the kernel has to say against us."""
        return await self.sh(
            "dmesg | grep -iE 'warn|bug[: ]|oops[: ]|call trace|rip:|leak|bad page|kfence:|hung|stall' "
            "| grep -vE 'kfence: initialized|MP-BIOS bug'",  # the second at boot, where the host is busy
            may_fail=True,
        )

    async def news(self) -> str:
        """All that the kernel has said since our driver was put in, but what it says anyway.

        Fails where it has said so much that its log no longer reaches back to there.
        """
        await self.sh(f"dmesg | grep {MARK}")
        return await self.sh(f"dmesg | sed '1,/{MARK}/d' | grep -vE '{USUAL}'", may_fail=True)
