"""What a lab guest boots: Debian's cloud kernel, an initramfs made on the spot, and a disk full of data."""

import hashlib
import random
from importlib import resources
from pathlib import Path

import msgspec

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import MIB
from autoballoon.lab import cache, ext4, newc, packages
from autoballoon.lab.cache import Say
from autoballoon.lab.commands import run

DATA_MIB = 480
"""Size of the file that guests read: more than the page cache of a 512 MiB guest can hold."""

_MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_balloon",
    "virtio_blk",
)
"""What Debian's kernel has as modules, in the order of their dependencies."""

PORTS = "virtio_console"
"""The module of virtio-serial ports."""
_FOLDERS = ("bin", "dev", "proc", "sys", "disk", "modules", "scripts", "userland")
SCRIPTS = ("build", "inside")
"""Workloads that are shell scripts, and need a userland."""


class GuestImage(msgspec.Struct, frozen=True):
    """The files a guest boots from, all in the cache, all shared by every guest."""

    kernel: Path
    initrd: Path
    disk: Path
    """An ext4 image with one file, `data`, opened read-only by every guest."""
    kernel_version: str


def build_image(say: Say, driver: Path | None = None, agent: Path | None = None) -> GuestImage:
    """The image, from the cache or made now (a minute, once). CouldNot when a package or tool is missing.

    `driver`: a balloon driver of our own to lie beside Linux's; VmSpec.driver says which is loaded. `agent`: our agent,
    and with it the driver of its port; VmSpec.side says whether it runs.
    """
    version, tree = packages.kernel_tree(say)
    kernel = tree / "boot" / f"vmlinuz-{version}"
    if not kernel.is_file():
        raise CouldNot(f"{kernel} is missing; remove {tree} and start again")
    return GuestImage(
        kernel=kernel,
        initrd=_initrd(version, tree, say, driver, agent),
        disk=_disk(say),
        kernel_version=version,
    )


def _initrd(version: str, tree: Path, say: Say, driver: Path | None, agent: Path | None) -> Path:
    busybox = packages.unpacked("busybox-static", say) / "bin" / "busybox"
    init = _source("init")
    wanted = _MODULES if agent is None else (*_MODULES, PORTS)
    found = {name: packages.kernel_module(version, tree, name) for name in wanted}
    modules = {name: content for name, content in found.items() if content is not None}
    if driver is not None:
        modules["autoballoon"] = driver.read_bytes()
    scripts = {name: _source(name) for name in SCRIPTS}
    if agent is not None:
        scripts["agent"] = agent.read_bytes()
    files = {
        **{folder: newc.folder() for folder in _FOLDERS},
        "init": newc.program(init),
        "bin/busybox": newc.program(busybox.read_bytes()),
        "workload": newc.program(_workload(say).read_bytes()),
        **{f"modules/{name}": newc.program(content) for name, content in modules.items()},
        **{f"scripts/{name}": newc.program(content) for name, content in scripts.items()},
        "modules/order": newc.program("".join(f"{name}\n" for name in _MODULES if name in modules).encode()),
    }
    content = newc.archive(files)
    name = f"initrd-{version}-{_digest(content)}"
    made = cache.entry(
        name,
        lambda aside: _write(aside / "initrd", content),
        say,
        making=f"writing the guests' initramfs for Linux {version}",
        versions="initrd-*",
    )
    return made / "initrd"


def _workload(say: Say) -> Path:
    """The workload program, compiled for the machine's own processor and without shared libraries."""
    source = _source("workload.c")

    def compile_into(aside: Path) -> None:
        (aside / "workload.c").write_bytes(source)
        run(["gcc", "-O2", "-static", "-Wall", "-o", aside / "workload", aside / "workload.c"])

    made = cache.entry(
        f"workload-{_digest(source)}",
        compile_into,
        say,
        making="compiling the guests' workload",
        versions="workload-*",
    )
    return made / "workload"


def _disk(say: Say) -> Path:
    def make(aside: Path) -> None:
        content = aside / "content"
        content.mkdir()
        noise = random.Random(1)
        with (content / "data").open("wb") as data:
            for _ in range(DATA_MIB):
                data.write(noise.randbytes(MIB))
        ext4.pack(content, aside / "disk")
        (content / "data").unlink()
        content.rmdir()

    made = cache.entry(
        f"disk-1-{DATA_MIB}",
        make,
        say,
        making=f"making the guests' disk ({DATA_MIB} MiB of data)",
        versions="disk-*",
    )
    return made / "disk"


def _source(name: str) -> bytes:
    return (resources.files("autoballoon.lab") / "guest" / name).read_bytes()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
