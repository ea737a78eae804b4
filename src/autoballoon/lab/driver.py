"""The guest's balloon driver (guest/driver in the repository), built for a kernel of Debian's.

Headers are unpacked into the cache, as the kernel is; nothing is installed.
"""

import hashlib
import shutil
from pathlib import Path

import msgspec

import autoballoon
from autoballoon.core.errors import CouldNot
from autoballoon.lab import cache, packages
from autoballoon.lab.cache import Say
from autoballoon.lab.commands import run

_HEADERS = "/usr/src/"
"""Where Debian's headers expect to lie: their Makefile names the part that all flavours share by this path."""


def build_driver(say: Say, *, test_build: bool = False) -> Path:
    """autoballoon.ko for the lab's kernel, from the cache or made now. CouldNot where it does not build.

    `test_build`: with the file in debugfs that calls the shrinker's scan function with a given number.
    """
    source = _source()
    checker = ["C=1", "CF=-Wsparse-error"] if shutil.which("sparse") else []
    version, _ = packages.kernel_tree(say)
    headers = _headers(version, say)
    digest = hashlib.sha256(msgspec.json.encode([source, checker])).hexdigest()
    kind = "test" if test_build else "plain"

    def make(aside: Path) -> None:
        for name, content in source.items():
            (aside / name).write_bytes(content)
        if not checker:
            say("the driver is built without sparse, which is not installed (apt-get install sparse)")
        test = ["AUTOBALLOON_TEST=y"] if test_build else []
        # Debian's kernels have type information for modules that only pahole and the kernel's own image could make.
        run(
            [
                "make",
                "-s",
                "-C",
                headers,
                f"M={aside}",
                "W=1",
                *checker,
                *test,
                "CONFIG_DEBUG_INFO_BTF_MODULES=",
                "modules",
            ],
            say=say,
        )

    name = f"driver-{kind}-{version}-{digest[:16]}"
    made = cache.entry(
        name,
        make,
        say,
        making=f"building the guests' balloon driver for Linux {version}",
        versions=f"driver-{kind}-[0-9]*",
    )
    return made / "autoballoon.ko"


def _source() -> dict[str, bytes]:
    """What the driver is built from, by name; what else lies there (an editor's lock, say) is none of it."""
    folder = Path(autoballoon.__file__).parents[2] / "guest" / "driver"
    try:
        found = {
            file.name: file.read_bytes()
            for pattern in ("Kbuild", "*.c", "*.h")
            for file in sorted(folder.glob(pattern))
            if file.is_file()
        }
    except OSError as error:
        raise CouldNot(f"the driver's source in {folder} cannot be read ({error.strerror})") from error
    if "Kbuild" not in found:
        raise CouldNot(
            "the driver's source is not here; it comes with autoballoon's repository, in guest/driver"
        )
    return found


def _headers(version: str, say: Say) -> Path:
    """The folder to build modules in: the flavour's headers, those that flavours share, and Kbuild's programs."""
    release = version.removesuffix("-cloud-amd64")
    # Kernels of a stable release share Kbuild's programs (linux-kbuild-6.1), those of backports have their own.
    kbuild = ".".join(release.split(".")[:2]) if "+" not in release else release
    parts = [f"linux-headers-{version}", f"linux-headers-{release}-common", f"linux-kbuild-{kbuild}"]

    def make(aside: Path) -> None:
        for part in parts:
            shutil.copytree(packages.unpacked(part, say), aside, symlinks=True, dirs_exist_ok=True)
        makefile = aside / "usr" / "src" / f"linux-headers-{version}" / "Makefile"
        text = makefile.read_text()
        # The entry is renamed when it is whole: what it names must be where it will be.
        final = cache.cache_folder() / name / "usr" / "src"
        makefile.write_text(text.replace(_HEADERS, f"{final}/"))

    name = f"headers-{version}"
    made = cache.entry(
        name,
        make,
        say,
        making=f"putting the headers of Linux {version} together",
        versions="headers-[0-9]*",
    )
    return made / "usr" / "src" / f"linux-headers-{version}"
