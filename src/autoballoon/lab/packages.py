"""Debian packages fetched by apt and unpacked into the cache; nothing is ever installed."""

import lzma
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.lab import cache
from autoballoon.lab.cache import Say
from autoballoon.lab.commands import NoRoom, run

KERNEL = "linux-image-cloud-amd64"
_KERNEL = re.compile(r"(?<=-)\d+\.\d+(\.\d+-\d+)?")
"""A kernel's version as Debian has it in the names of packages: linux-image-6.1.0-50-cloud-amd64, linux-kbuild-6.1."""
T = TypeVar("T")


def kernel_tree(say: Say) -> tuple[str, Path]:
    """(version, folder) of the guests' kernel, unpacked: boot/vmlinuz-VERSION, lib/modules/VERSION.

    It is Debian's newest cloud kernel that apt knows, or the package that $AUTOBALLOON_KERNEL names; where apt knows
    none, the one of the cache that was used last.
    """
    chosen = os.environ.get("AUTOBALLOON_KERNEL")
    package = chosen or _with_fresh_lists(_kernel_package, say, _kept_kernel)
    if not package.startswith("linux-image-"):
        raise BadInput(
            f"AUTOBALLOON_KERNEL={package} names no kernel's package; write it like linux-image-VERSION-cloud-amd64"
        )
    return package.removeprefix("linux-image-"), unpacked(package, say)


def kernel_module(version: str, tree: Path, name: str) -> bytes | None:
    """That module of the unpacked kernel, or None where the kernel has it built in. CouldNot where it has neither."""
    folder = tree / "lib" / "modules" / version
    for found in folder.rglob(f"{name}.ko*"):
        content = found.read_bytes()
        return lzma.decompress(content) if found.suffix == ".xz" else content
    built_in = folder / "modules.builtin"
    if built_in.is_file() and any(Path(line).stem == name for line in built_in.read_text().splitlines()):
        return None
    raise CouldNot(f"the kernel {version} has no module {name}; the lab knows Debian's cloud kernels")


def unpacked(package: str, say: Say) -> Path:
    """The cache folder with the package's files, of the version that apt knows, or of the one used last where apt does
    not know it or cannot fetch it. CouldNot when there is none either."""

    cache.cache_folder()  # its trouble is none of apt's lists

    def fetch() -> Path:
        version = _field(package, "Version").replace(":", "%3a")
        return cache.entry(
            f"deb-{package}_{version}",
            lambda aside: _fetch(package, aside),
            say,
            making=f"fetching the package {package} {version} (unpacked in the cache, not installed)",
            versions=f"deb-{_KERNEL.sub('*', package)}_*",
        )

    return _with_fresh_lists(fetch, say, lambda: cache.last_used(f"deb-{package}_*"))


def versions(names: Sequence[str], say: Say) -> dict[str, str]:
    """The versions that apt would fetch. CouldNot when it does not know one, even with fresh lists."""
    return _with_fresh_lists(lambda: _versions(names), say)


def _versions(names: Sequence[str]) -> dict[str, str]:
    # One call for all: apt-cache takes half a second to open its lists.
    shown = run(["apt-cache", "show", "--no-all-versions", *names])
    found = re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", shown, re.MULTILINE)
    if missing := set(names) - {name for name, _ in found}:
        raise CouldNot(f"apt knows no package {sorted(missing)[0]}; run: apt-get update")
    return dict(found)


def debian_sources(kind: str = "deb") -> tuple[str, str]:
    """(suite, lines for a sources.list): where this machine's apt has its Debian packages from, and no others'.

    CouldNot when it has no lists of Debian's.
    """
    shown = run(["apt-get", "indextargets", "Created-By: Packages", "Origin: Debian"])
    targets = [
        dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        for stanza in shown.split("\n\n")
    ]
    found = [target for target in targets if {"Repo-URI", "Release", "Component"} <= target.keys()]
    if not found:
        raise CouldNot("apt has no lists of Debian's packages; run: apt-get update")
    lines = {
        f"{kind} {_signed(target)}{target['Repo-URI']} {target['Release']} {target['Component']}\n": None
        for target in found
    }
    return min((target["Codename"] for target in found if "Codename" in target), key=len), "".join(lines)


def _signed(target: dict[str, str]) -> str:
    return f"[signed-by={target['Signed-By']}] " if "Signed-By" in target else ""


def _kernel_package() -> str:
    """The versioned package that the kernel's meta-package depends on."""
    needs = _field(KERNEL, "Depends").replace("|", ",").split(",")
    for package in (need.split()[0] for need in needs if need.strip()):
        if package.startswith("linux-image-"):
            return package
    raise CouldNot(f"the package {KERNEL} names no kernel; the lab needs Debian 12's package lists")


def _kept_kernel() -> str | None:
    """The package of a kernel that the cache has."""
    entry = cache.last_used("deb-linux-image-*-cloud-amd64_*")
    return None if entry is None else entry.name.removeprefix("deb-").partition("_")[0]


def _with_fresh_lists(do: Callable[[], T], say: Say, kept: Callable[[], T | None] = lambda: None) -> T:
    """do(), and when that fails, what is `kept` of an earlier time, else do() once more after `apt-get update`: new
    machines have no lists, old ones stale lists. So what is in the cache needs no network."""
    try:
        return do()
    except cache.NotMade:
        raise
    except CouldNot as trouble:
        if (found := kept()) is not None:
            say(f"{trouble}; taking what the cache has")
            return found
        say(f"{trouble}; refreshing apt's lists and trying again")
    try:
        run(["apt-get", "update", "-q"])
        return do()
    except cache.NotMade:
        raise
    except CouldNot as trouble:
        raise CouldNot(
            f"{trouble}; what is not in the cache yet needs apt and Debian's servers, once"
        ) from trouble


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
    try:
        run(["dpkg", "-x", archive, into])
    except NoRoom:
        raise
    except CouldNot as trouble:
        raise CouldNot(f"the package {package} that apt fetched is broken ({trouble})") from trouble
    archive.unlink()
