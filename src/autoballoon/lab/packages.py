"""Debian packages fetched by apt and unpacked into the cache; nothing is ever installed."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from autoballoon.core.errors import CouldNot
from autoballoon.lab import cache
from autoballoon.lab.cache import Say
from autoballoon.lab.commands import run

KERNEL = "linux-image-cloud-amd64"
T = TypeVar("T")


def kernel_tree(say: Say) -> tuple[str, Path]:
    """(version, folder) of Debian's newest cloud kernel, unpacked: boot/vmlinuz-VERSION, lib/modules/VERSION."""
    package = _with_fresh_lists(_kernel_package, say)
    return package.removeprefix("linux-image-"), unpacked(package, say)


def unpacked(package: str, say: Say) -> Path:
    """The cache folder with the package's files. CouldNot when apt cannot fetch it."""

    def fetch() -> Path:
        version = _field(package, "Version").replace(":", "%3a")
        return cache.entry(
            f"deb-{package}_{version}",
            lambda aside: _fetch(package, aside),
            say,
            making=f"fetching the package {package} {version} (unpacked in the cache, not installed)",
        )

    return _with_fresh_lists(fetch, say)


def _kernel_package() -> str:
    """The versioned package that the kernel's meta-package depends on."""
    needs = _field(KERNEL, "Depends").replace("|", ",").split(",")
    for package in (need.split()[0] for need in needs if need.strip()):
        if package.startswith("linux-image-"):
            return package
    raise CouldNot(f"the package {KERNEL} names no kernel; the lab needs Debian 12's package lists")


def _with_fresh_lists(do: Callable[[], T], say: Say) -> T:
    """do(), and when that fails, once more after `apt-get update`: new machines have no lists, old ones stale lists."""
    try:
        return do()
    except CouldNot as trouble:
        say(f"{trouble}; refreshing apt's lists and trying again")
        run(["apt-get", "update", "-q"])
        return do()


def _field(package: str, name: str) -> str:
    shown = run(["apt-cache", "show", "--no-all-versions", package])
    for line in shown.splitlines():
        if line.startswith(f"{name}: "):
            return line.removeprefix(f"{name}: ")
    raise CouldNot(f"apt knows no {name} of the package {package}; run: apt-get update")


def _fetch(package: str, into: Path) -> None:
    run(["apt-get", "download", "-q", package], cwd=into)
    archive = next(into.glob("*.deb"), None)
    if archive is None:
        raise CouldNot(f"apt-get download {package} left no package in {into}")
    run(["dpkg", "-x", archive, into])
    archive.unlink()
