"""The C source of a Debian package, as its authors released it, fetched by apt into the cache."""

import shutil
from pathlib import Path

from autoballoon.core.errors import CouldNot
from autoballoon.lab import cache, packages
from autoballoon.lab.cache import Say
from autoballoon.lab.commands import run


def unpacked_source(package: str, say: Say) -> Path:
    """The cache folder with the source package's upstream files. CouldNot when apt cannot fetch it."""
    version = packages.versions([package], say)[package]
    return cache.entry(
        f"source-{package}_{version.replace(':', '%3a')}",
        lambda aside: _fetch(package, aside),
        say,
        making=f"fetching the source of the package {package}",
        versions=f"source-{package}_*",
    )


def _fetch(package: str, into: Path) -> None:
    """Most machines have no source lists; they are asked of the same servers, and kept apart from the machine's own."""
    _, lines = packages.debian_sources(kind="deb-src")
    listed, lists = into / "sources.list", into / "lists"
    listed.write_text(lines)
    (lists / "partial").mkdir(parents=True)
    apart = [f"-oDir::Etc::sourcelist={listed}", "-oDir::Etc::sourceparts=/dev/null", f"-oDir::State::lists={lists}",
             "-oAPT::Sandbox::User=root"]  # fmt: skip
    run(["apt-get", "-q", *apart, "update"])
    run(["apt-get", "-q", *apart, "source", "--download-only", package], cwd=into)
    archive = next(into.glob("*.orig.tar.*"), None)
    if archive is None:
        raise CouldNot(f"apt-get source {package} left no upstream archive in {into}")
    run(["tar", "-xf", archive, "-C", into, "--strip-components=1", "--no-same-owner"])
    for left in (archive, listed, *into.glob("*.dsc"), *into.glob("*.debian.tar.*"), *into.glob("*.asc")):
        left.unlink()
    shutil.rmtree(lists)
