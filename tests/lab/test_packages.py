"""Fetching packages, against a fake apt on the PATH."""

import lzma
import os
from pathlib import Path

import pytest

from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.lab import packages

APT_CACHE = """
[ -e "$WORLD/lists" ] || { echo "E: No packages found" >&2; exit 100; }
case "$3" in
  linux-image-cloud-amd64) echo "Version: 1:2"; echo "Depends: linux-image-9.9-cloud-amd64 (= 1:2)";;
  *) echo "Version: 1:2";;
esac
"""
APT_GET = """
case "$1" in
  update)
    echo update >> "$WORLD/log"
    [ -e "$WORLD/offline" ] && { echo "E: no network" >&2; exit 100; }
    touch "$WORLD/lists";;
  download)
    [ "$FULL" = apt-get ] && { echo "E: Error writing to file - write (28: No space left on device)" >&2; exit 100; }
    echo "download $3" >> "$WORLD/log"; echo archive > "$3.deb";;
esac
"""
DPKG = """
[ "$FULL" = dpkg ] && { echo "tar: ./boot: Cannot write: No space left on device
dpkg-deb: error: tar subprocess returned error exit status 2" >&2; exit 2; }
[ -e "$WORLD/broken" ] && { echo "dpkg-deb: error: '$2' is not a Debian format archive" >&2; exit 2; }
mkdir "$3/boot" && echo kernel > "$3/boot/vmlinuz"
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds what the fake apt knows: the files lists, offline, broken; and its log."""
    for name, body in {"apt-cache": APT_CACHE, "apt-get": APT_GET, "dpkg": DPKG}.items():
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/sh\n{body}")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("WORLD", str(tmp_path))
    monkeypatch.setenv("AUTOBALLOON_CACHE", str(tmp_path / "cache"))
    return tmp_path


def log(world: Path) -> list[str]:
    return (world / "log").read_text().splitlines()


def test_the_newest_kernel_is_unpacked_under_its_version(world: Path) -> None:
    (world / "lists").touch()
    for _ in range(2):
        version, tree = packages.kernel_tree(print)
    assert version == "9.9-cloud-amd64"
    assert tree == world / "cache" / "deb-linux-image-9.9-cloud-amd64_1%3a2"
    assert (tree / "boot" / "vmlinuz").exists()
    assert not list(tree.glob("*.deb"))
    assert log(world) == ["download linux-image-9.9-cloud-amd64"]


def test_another_kernel_is_taken_by_name(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "lists").touch()
    monkeypatch.setenv("AUTOBALLOON_KERNEL", "linux-image-9.10.1+deb9-cloud-amd64")
    assert packages.kernel_tree(print)[0] == "9.10.1+deb9-cloud-amd64"


def test_a_kernel_that_is_none_is_refused_by_the_variable(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOBALLOON_KERNEL", "vmlinuz")
    with pytest.raises(BadInput, match="AUTOBALLOON_KERNEL=vmlinuz names no kernel's package"):
        packages.kernel_tree(print)
    assert not (world / "log").exists()


def test_a_cache_that_cannot_be_made_does_not_refresh_lists(world: Path) -> None:
    (world / "cache").touch()
    with pytest.raises(CouldNot, match="point AUTOBALLOON_CACHE at one you may write"):
        packages.unpacked("busybox-static", print)
    assert not (world / "log").exists()


@pytest.mark.parametrize("tool", ["apt-get", "dpkg"])
def test_a_full_disk_is_said_as_one_and_lists_are_not_refreshed(
    world: Path, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world / "lists").touch()
    monkeypatch.setenv("FULL", tool)
    with pytest.raises(
        CouldNot, match=r"busybox-static_1%3a2 cannot be made \(No space left on device\); make room"
    ):
        packages.unpacked("busybox-static", print)
    assert tool == "dpkg" or not (world / "log").exists()
    assert tool == "apt-get" or log(world) == ["download busybox-static"]
    assert list((world / "cache").iterdir()) == []


def test_modules_are_plain_or_packed_or_in_the_kernel(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "modules" / "9.9"
    (folder / "kernel").mkdir(parents=True)
    (folder / "kernel" / "plain.ko").write_bytes(b"one")
    (folder / "kernel" / "packed.ko.xz").write_bytes(lzma.compress(b"two"))
    (folder / "modules.builtin").write_text("kernel/drivers/virtio/inside.ko\n")
    assert packages.kernel_module("9.9", tmp_path, "plain") == b"one"
    assert packages.kernel_module("9.9", tmp_path, "packed") == b"two"
    assert packages.kernel_module("9.9", tmp_path, "inside") is None
    with pytest.raises(CouldNot, match=r"9\.9 has no module side"):
        packages.kernel_module("9.9", tmp_path, "side")


def test_a_machine_without_lists_gets_them_once(world: Path) -> None:
    packages.unpacked("busybox-static", print)
    assert log(world) == ["update", "download busybox-static"]


def test_what_is_in_the_cache_needs_neither_lists_nor_network(world: Path) -> None:
    (world / "lists").touch()
    found = packages.kernel_tree(print), packages.unpacked("busybox-static", print)
    (world / "lists").unlink()
    (world / "offline").touch()
    said: list[str] = []
    assert (packages.kernel_tree(said.append), packages.unpacked("busybox-static", said.append)) == found
    assert all("No packages found; taking what the cache has" in one for one in said)
    assert "update" not in log(world)
    (found[1] / "boot" / "vmlinuz").write_text("")
    with pytest.raises(CouldNot, match="needs apt and Debian's servers"):
        packages.unpacked("busybox-static", print)


def test_without_network_it_is_one_sentence(world: Path) -> None:
    (world / "offline").touch()
    with pytest.raises(
        CouldNot, match=r"`apt-get update -q` failed: E: no network; .* needs apt and Debian's servers"
    ):
        packages.unpacked("busybox-static", print)


def test_a_broken_package_is_one_sentence_and_not_kept(world: Path) -> None:
    (world / "lists").touch()
    (world / "broken").touch()
    with pytest.raises(
        CouldNot,
        match=r"the package busybox-static that apt fetched is broken .*is not a Debian format archive",
    ):
        packages.unpacked("busybox-static", print)
    assert list((world / "cache").iterdir()) == []
    (world / "broken").unlink()
    assert (packages.unpacked("busybox-static", print) / "boot").is_dir()
