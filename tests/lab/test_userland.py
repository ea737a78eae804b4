"""Making a userland, against a fake apt, mmdebstrap and mkfs on the PATH."""

import os
from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.lab import packages
from autoballoon.lab.userland import COMPILER, PYTHON, build_userland

APT_CACHE = """
shift 2
for name; do
    [ -e "$WORLD/no-$name" ] && { echo "N: Unable to locate package $name" >&2; continue; }
    printf 'Package: %s\\nSource: of-%s\\nVersion: %s\\n\\n' "$name" "$name" "$(cat "$WORLD/version")"
done
"""
APT_GET = """
case "$*" in
  indextargets*) cat "$WORLD/targets";;
  update*) touch "$WORLD/updated";;
  *" update") echo "$@" >> "$WORLD/asked";;
  *" source "*)
    mkdir lua-5 && echo 'int x;' > lua-5/x.c && tar -czf lua5.4_5.orig.tar.gz lua-5 && rm -r lua-5
    touch lua5.4_5.dsc lua5.4_5.debian.tar.xz
    cp sources.list "$WORLD/source-lines"; echo "$@" >> "$WORLD/asked";;
esac
"""
MMDEBSTRAP = """
echo "$@" >> "$WORLD/log"
for list; do root=$before before=$list; done
cp "$list" "$WORLD/sources"
[ -e "$WORLD/broken" ] && { echo "E: no network" >&2; exit 1; }
mkdir -p "$root/usr/bin" "$root/usr/share/doc" && echo program > "$root/usr/bin/program"
"""
MKFS = """
for size; do image=$before before=$size; done
ls "$6" > /dev/null
echo "an image" > "$image"
"""
TARGETS = """MetaKey: main/binary-amd64/Packages
Codename: bookworm
Release: bookworm
Component: main
Repo-URI: http://mirror.example/debian/

MetaKey: main/binary-amd64/Packages
Codename: bookworm-security
Release: bookworm-security
Component: main
Repo-URI: http://mirror.example/security/
Signed-By: /usr/share/keyrings/k.gpg
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files version and targets, which say what apt knows, and log, what mmdebstrap was asked."""
    tools = {
        "apt-cache": APT_CACHE,
        "apt-get": APT_GET,
        "mmdebstrap": MMDEBSTRAP,
        "mkfs.ext4": MKFS,
        "chroot": "",
    }
    for name, body in tools.items():
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/sh\n{body}")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("WORLD", str(tmp_path))
    monkeypatch.setenv("AUTOBALLOON_CACHE", str(tmp_path / "cache"))
    (tmp_path / "version").write_text("3.11")
    (tmp_path / "targets").write_text(TARGETS)
    return tmp_path


def entries(world: Path) -> list[str]:
    return sorted(path.name for path in (world / "cache").iterdir())


def test_an_image_is_made_once_for_its_versions(world: Path) -> None:
    first = build_userland(PYTHON, print)
    assert build_userland(PYTHON, print) == first
    assert first.read_text() == "an image\n"
    assert len((world / "log").read_text().splitlines()) == 1
    assert [path.name for path in first.parent.iterdir() if not path.name.startswith(".")] == ["image"]
    (world / "version").write_text("3.12")
    assert build_userland(PYTHON, print) != first


def test_a_damaged_image_is_noticed_and_made_again(world: Path) -> None:
    image = build_userland(PYTHON, print)
    image.write_text("half")
    said: list[str] = []
    assert build_userland(PYTHON, said.append).read_text() == "an image\n"
    assert "damaged" in said[0]


def test_the_packages_are_those_of_the_machines_own_debian_sources(world: Path) -> None:
    build_userland(PYTHON, print)
    assert (world / "sources").read_text() == (
        "deb http://mirror.example/debian/ bookworm main\n"
        "deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/security/ bookworm-security main\n"
    )
    words = (world / "log").read_text().split()
    assert "bookworm" in words and f"--include={','.join(PYTHON.packages)}" in words


def test_the_source_is_fetched_apart_and_only_the_authors_files_are_kept(world: Path) -> None:
    build_userland(COMPILER, print)
    (source,) = (world / "cache").glob("source-*")
    assert sorted(path.name for path in source.iterdir()) == [".sizes.json", "x.c"]
    assert (
        (world / "source-lines")
        .read_text()
        .startswith("deb-src http://mirror.example/debian/ bookworm main\n")
    )
    for line in (world / "asked").read_text().splitlines():  # the machine's own lists stay as they are
        assert f"-oDir::State::lists={world / 'cache'}" in line


def test_what_cannot_be_made_leaves_nothing(world: Path) -> None:
    (world / "broken").touch()
    with pytest.raises(CouldNot, match="failed: E: no network"):
        build_userland(PYTHON, print)
    assert entries(world) == []


def test_without_mmdebstrap_it_is_one_sentence(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "bin" / "mmdebstrap").unlink()
    monkeypatch.setenv("PATH", f"{world / 'bin'}:/nowhere")
    for name in ("sh", "cat"):
        (world / "bin" / name).symlink_to(f"/bin/{name}")
    with pytest.raises(CouldNot, match="install it with: apt-get install mmdebstrap"):
        build_userland(PYTHON, print)


def test_a_package_that_debian_does_not_have_is_named(world: Path) -> None:
    (world / "no-mount").touch()
    with pytest.raises(CouldNot, match="apt knows no package mount"):
        build_userland(PYTHON, print)
    assert (world / "updated").exists()


def test_without_lists_of_debians_there_is_a_sentence(world: Path) -> None:
    (world / "targets").write_text("")
    with pytest.raises(CouldNot, match="apt-get update"):
        packages.debian_sources()
