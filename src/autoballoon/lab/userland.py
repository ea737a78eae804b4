"""A small Debian for guests to work in: packages of the machine's own apt sources in a read-only ext4 image.

mmdebstrap fetches and unpacks them; no script of a package runs, so that no init system, no mounts and no network
inside are needed. Nothing is installed on the machine.
"""

import hashlib
import shutil
from pathlib import Path

import msgspec

import autoballoon
from autoballoon.core.errors import CouldNot
from autoballoon.lab import cache, csource, ext4, packages
from autoballoon.lab.cache import Say
from autoballoon.lab.commands import run

_FORMAT = 1
"""Counted up when images are made otherwise than before; it is part of their name."""
_MOUNT_POINTS = ("proc", "sys", "dev", "tmp", "run", "mnt", "project")
_SHELL = ("dash", "coreutils", "libc-bin", "libc6")


class Recipe(msgspec.Struct, frozen=True):
    """What is in a userland."""

    name: str
    packages: tuple[str, ...]
    """Debian 12's packages; what they depend on comes with them. The image is made anew when a version changes."""
    python: bool = False
    """Compile Python's library beforehand: an emulated guest takes 15 s for what it imports."""
    sources: tuple[str, ...] = ()
    """Source packages whose upstream files lie in /usr/src/NAME."""


PYTHON = Recipe("python", (*_SHELL, "python3", "python3.11", "e2fsprogs", "mount", "util-linux"), python=True)
"""Python, and what makes file systems and swap."""
SIDES = Recipe("sides", (*PYTHON.packages, "qemu-guest-agent"), python=True)
"""What our agent runs in, and QEMU's own."""
COMPILER = Recipe(
    "compiler", (*_SHELL, "gcc", "gcc-12", "binutils", "libc6-dev", "make"), sources=("lua5.4",)
)
"""A C compiler and the C source of Lua."""


def agent_source() -> Path:
    """Our agent, which runs in guests. CouldNot where it is not: it comes with the repository."""
    source = Path(autoballoon.__file__).parents[2] / "guest" / "agent" / "autoballoon_agent.py"
    if not source.is_file():
        raise CouldNot("the agent is not here; it comes with autoballoon's repository, in guest/agent")
    return source


def build_userland(recipe: Recipe, say: Say) -> Path:
    """The ext4 image, from the cache or made now. CouldNot when mmdebstrap is missing or apt cannot fetch a package."""
    versions = sorted(packages.versions(recipe.packages, say).items())
    sources = {name: csource.unpacked_source(name, say) for name in recipe.sources}
    key = msgspec.json.encode([_FORMAT, recipe, versions, sorted(path.name for path in sources.values())])
    made = cache.entry(
        f"userland-{recipe.name}-{hashlib.sha256(key).hexdigest()[:16]}",
        lambda aside: _make(recipe, sources, aside),
        say,
        making=f"making the guests' userland {recipe.name!r} of Debian packages (half a minute, once)",
        versions=f"userland-{recipe.name}-{'[0-9a-f]' * 16}",
    )
    return made / "image"


def _make(recipe: Recipe, sources: dict[str, Path], aside: Path) -> None:
    suite, apt_lines = packages.debian_sources()
    listed, root = aside / "sources.list", aside / "root"
    listed.write_text(apt_lines)
    run(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract", "--format=directory",
         '--aptopt=APT::Sandbox::User "root"', f"--include={','.join(recipe.packages)}", suite, root, listed]
    )  # fmt: skip
    for useless in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/lib/dpkg"):
        shutil.rmtree(root / useless, ignore_errors=True)
    if recipe.python:
        # Unchecked: mke2fs keeps no fraction of a second of a file's time, and the image never changes.
        run(
            ["chroot", root, "/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
             "/usr/lib/python3.11"]
        )  # fmt: skip
    for name, source in sources.items():
        shutil.copytree(source, root / "usr/src" / name)
    for folder in _MOUNT_POINTS:
        (root / folder).mkdir(exist_ok=True)
    ext4.pack(root, aside / "image")
    shutil.rmtree(root)
    listed.unlink()
