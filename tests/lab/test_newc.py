"""The initramfs archive, read back by cpio."""

import shutil
import subprocess
from pathlib import Path

import pytest

from autoballoon.lab import newc


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_reads_what_was_written(tmp_path: Path) -> None:
    files = {
        "bin": newc.folder(),
        "bin/odd": newc.program(b"12345"),
        "bin/even": newc.program(b"1234"),
        "no": newc.program(b""),
    }
    archive = newc.archive(files)
    subprocess.run(["cpio", "-i", "--quiet"], cwd=tmp_path, input=archive, check=True)
    unpacked = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*")}
    assert sorted(unpacked) == sorted(files)
    assert unpacked["bin/odd"].read_bytes() == b"12345"
    assert unpacked["bin/odd"].stat().st_mode & 0o777 == 0o755
