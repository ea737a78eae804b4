"""What of the host matters to ballooning: swap, PSI, huge pages, NUMA nodes, other balloon managers."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from autoballoon.core.errors import AutoballoonError
from autoballoon.core.facts import HostFacts, Manager
from autoballoon.core.units import Portion
from autoballoon.host.files import kib_fields, read_if_there
from autoballoon.host.memory import HostReader
from autoballoon.host.qemu import numbers

_MANAGERS = {
    "momd": "MOM",
    "pvestatd": "pvestatd",
    "squeezed": "squeezed",
    "xenopsd": "xenopsd",
    "xenopsd-xc": "xenopsd",
    "qmemmand": "qmemman",
    "qubes-qmemman": "qmemman",
}
"""By the last part of a word of the command line: the program, or the script that Python or Perl runs."""
_HUGE = "sys/kernel/mm/transparent_hugepage"


def host_facts(
    capacity: str | int = "auto",
    daemon: int | None = None,
    root: Path = Path("/"),
    reserve: Portion | None = None,
) -> HostFacts:
    """The host now. `daemon` is the pid of the autoballoon that was asked: another one is another manager.

    What of the capacity is not in `reserve` is there for guests.
    """
    trouble, pool = _pool(capacity, reserve, root)
    swap = kib_fields(read_if_there(root / "proc/meminfo") or b"").get(b"SwapTotal")
    enabled = re.search(rb"\[(\w+)\]", read_if_there(root / _HUGE / "enabled") or b"")
    most = (read_if_there(root / _HUGE / "khugepaged/max_ptes_none") or b"").strip()
    return HostFacts(
        root=os.geteuid() == 0,
        capacity=trouble,
        pool=pool,
        swap=swap,
        psi=bool(read_if_there(root / "proc/pressure/memory")),
        huge_pages=enabled[1].decode() if enabled else None,
        max_ptes_none=int(most) if most.isdigit() else None,
        nodes=numbers((read_if_there(root / "sys/devices/system/node/has_memory") or b"").decode()),
        managers=tuple(_managers(daemon, root)),
    )


def _pool(capacity: str | int, reserve: Portion | None, root: Path) -> tuple[str | None, int | None]:
    """Why the capacity cannot be used; else what of it is not in reserve, where that is known."""
    try:
        reader = HostReader(capacity, root)
        try:
            size = 0 if reserve is None else reader.read().capacity
        finally:
            reader.close()
    except AutoballoonError as error:
        return str(error), None
    return None, None if reserve is None else max(0, size - reserve.of(size))


def _managers(daemon: int | None, root: Path) -> Iterator[Manager]:
    """One of each kind, by its lowest pid."""
    told: set[str] = set()
    pids = sorted(int(each.name) for each in (root / "proc").iterdir() if each.name.isdigit())
    for pid in pids:
        words = (read_if_there(root / "proc" / str(pid) / "cmdline") or b"").split(b"\0")
        name = _manager([word.decode(errors="replace") for word in words[:4]])
        if name is None or name in told or (name == "autoballoon" and daemon in (None, pid)):
            continue
        told.add(name)
        yield Manager(name, pid)


def _manager(words: list[str]) -> str | None:
    """Whose words these are: the program is the first, or the second or third where an interpreter is."""
    for at, word in enumerate(words[:3]):
        # A title that a process gives itself is one word with blanks in it: "pvestatd", "mom: ...".
        base = word.partition(" ")[0].rpartition("/")[2]
        if base == "autoballoon" and words[at + 1 : at + 2] == ["run"]:
            return "autoballoon"
        if base in _MANAGERS and (at == 0 or _is_interpreter(words[0])):
            return _MANAGERS[base]
    return None


def _is_interpreter(word: str) -> bool:
    return re.match(r"(python|perl|sh$|bash$)", word.rpartition("/")[2]) is not None
