"""Write a cpio archive in the "newc" format, which the kernel unpacks as its initramfs.

Source: Documentation/driver-api/early-userspace/buffer-format.rst in the Linux sources.
"""

import stat
from collections.abc import Mapping

_END = "TRAILER!!!"


def archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """The archive of {path: (mode, content)}, in that order; a folder has S_IFDIR in its mode and no content."""
    parts = [
        _member(number, path, mode, content)
        for number, (path, (mode, content)) in enumerate(files.items(), 1)
    ]
    return b"".join([*parts, _member(0, _END, 0, b"")])


def folder() -> tuple[int, bytes]:
    """The entry of a folder."""
    return stat.S_IFDIR | 0o755, b""


def program(content: bytes) -> tuple[int, bytes]:
    """The entry of a file that may be run."""
    return stat.S_IFREG | 0o755, content


def _member(number: int, path: str, mode: int, content: bytes) -> bytes:
    name = path.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
