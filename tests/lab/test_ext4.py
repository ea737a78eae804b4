"""A folder becomes an image that holds what was in it."""

import subprocess
from pathlib import Path

from autoballoon.core.units import MIB
from autoballoon.lab import ext4


def inside(image: Path, request: str) -> str:
    return subprocess.run(
        ["debugfs", "-R", request, image], check=True, capture_output=True, text=True
    ).stdout


def test_what_is_in_the_folder_is_in_the_image(tmp_path: Path) -> None:
    content, image = tmp_path / "content", tmp_path / "image"
    (content / "deep" / "er").mkdir(parents=True)
    (content / "deep" / "er" / "text").write_text("hello\n")
    (content / "large").write_bytes(bytes(range(256)) * (8 * MIB // 256))
    (content / "link").symlink_to("large")
    for number in range(300):
        (content / f"small-{number}").write_text("x")
    ext4.pack(content, image)
    assert inside(image, "cat /deep/er/text") == "hello\n"
    assert "small-299" in inside(image, "ls /")
    assert f"Size: {8 * MIB}" in inside(image, "stat /large")
    assert image.stat().st_size < 24 * MIB
    assert "has_journal" not in inside(image, "features")
