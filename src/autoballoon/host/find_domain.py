"""Which process is a libvirt domain: the QEMU that carries its UUID."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from autoballoon.host.files import read_if_there
from autoballoon.host.find import is_qemu

_PID = re.compile(rb"([1-9]\d{0,9})\s*")


def qemu_of_domain(name: str, uuid: str, folders: Sequence[str], root: Path = Path("/")) -> int | None:
    """The pid of the QEMU that runs the domain; None when that is not certain.

    libvirt writes it into NAME.pid in one of `folders`, which only its owner can write. It is believed when that
    process is a QEMU started with `-uuid UUID`. Without such a file exactly one QEMU of all processes must be.
    """
    proc = root / "proc"
    for folder in folders:
        text = read_if_there(root / folder.lstrip("/") / f"{name}.pid") if "/" not in name else None
        written = _PID.fullmatch(text or b"")
        if written is not None and _runs(proc / written[1].decode(), uuid):
            return int(written[1])
    pids = [int(each.name) for each in proc.iterdir() if each.name.isdigit()]
    running = [pid for pid in pids if _runs(proc / str(pid), uuid)]
    return running[0] if len(running) == 1 else None


def _runs(process: Path, uuid: str) -> bool:
    if not is_qemu(process):
        return False
    words = (read_if_there(process / "cmdline") or b"").split(b"\0")
    given = [value for word, value in pairwise(words) if word == b"-uuid"]
    return given == [uuid.encode()]
