"""What a guest carries to be tested in: this project as it is installed here, pytest, and tests that run inside."""

import compileall
import py_compile
import shutil
import sys
from importlib import metadata, resources
from pathlib import Path

from packaging.requirements import Requirement

from autoballoon.lab import ext4

TESTS = Path(__file__).parents[1]
INSIDE = Path(__file__).parent / "inside"
NEEDS = ("pytest", "pytest-asyncio")
_PYTHON = (3, 11)
"""The guest's: Debian 12's. Compiled modules of another do not load there."""


def fits() -> bool:
    """Whether what is installed here can run in the guest."""
    return sys.version_info[:2] == _PYTHON


def project_image(folder: Path) -> Path:
    """An ext4 image to mount at /project: its `run` is started by the workload "inside"."""
    content = folder / "project"
    packages = content / "packages"
    for name in _closure(["autoballoon", *NEEDS]):
        _copy(metadata.distribution(name), packages)
    with resources.as_file(resources.files("autoballoon")) as package:
        shutil.copytree(package, packages / "autoballoon", dirs_exist_ok=True, ignore=_caches)
    shutil.copytree(TESTS / "guests", content / "tests/guests", ignore=_caches)
    shutil.copytree(INSIDE, content / "tests/inside", ignore=_caches)
    shutil.copy(INSIDE / "run", content / "run")
    _compile(content)
    image = folder / "project.img"
    ext4.pack(content, image)
    shutil.rmtree(content)
    return image


def _closure(names: list[str]) -> list[str]:
    """These distributions and all that they need, without extras."""
    found: list[str] = []
    while names:
        name = names.pop()
        if name in found:
            continue
        found.append(name)
        needs = [Requirement(text) for text in metadata.requires(name) or []]
        names += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def _copy(distribution: metadata.Distribution, packages: Path) -> None:
    for file in distribution.files or []:
        source = Path(str(distribution.locate_file(file)))
        if ".." in file.parts or file.suffix in (".pyc", ".pth") or not source.is_file():
            continue
        target = packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _compile(content: Path) -> None:
    # An emulated guest would take 20 s for it, at each start: its disk cannot be written to.
    compileall.compile_dir(
        content, quiet=1, stripdir=content, prependdir="/project",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )  # fmt: skip


_caches = shutil.ignore_patterns("__pycache__")
