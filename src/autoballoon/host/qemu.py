"""A QEMU process as its command line and /proc show it: its sockets, its balloon, and what pins its memory.

Command lines are whatever a process wrote there: nothing here raises for one that is not QEMU's.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from autoballoon.host.files import kib_fields, read_if_there
from autoballoon.host.find import is_of_a_session, is_qemu, manager_of

LONGEST = 1 << 20
"""Bytes of a command line or numa_maps that are looked at."""
_GUEST_AGENT = "org.qemu.guest_agent.0"
_RUNS_A_GUEST = re.compile(r"qemu-system-|qemu-kvm$|kvm$|qemu$")
_BOUND = re.compile(rb"^\S+ bind(?:=\w+)?:([\d,-]+) .*\banon=(\d+)", re.MULTILINE)


class Qemu(msgspec.Struct, frozen=True):
    """One process, as far as it is known without asking it."""

    pid: int
    name: str | None = None
    uuid: str | None = None
    manager: str | None = None
    connection: str | None = None
    """The URI of the libvirt that runs it."""
    qmp: tuple[str, ...] = ()
    """Its QMP sockets."""
    agent: str | None = None
    """The socket of the guest agent."""
    balloon: dict[str, str] | None = None
    """The options of its balloon device; None: no such word on its command line."""
    vfio: bool | None = None
    hugetlb: int | None = None
    locked: int | None = None
    nodes: tuple[int, ...] | None = None
    """Where its memory may lie."""


def all_qemus(root: Path = Path("/")) -> list[Qemu]:
    """Every QEMU that runs a guest, by pid."""
    pids = sorted(int(each.name) for each in (root / "proc").iterdir() if each.name.isdigit())
    found = (look(pid, root) for pid in pids if is_qemu(root / "proc" / str(pid)))
    return [qemu for qemu in found if qemu is not None]


def look(pid: int, root: Path = Path("/")) -> Qemu | None:
    """The process; None when it is gone, or is a program of QEMU's that runs no guest (qemu-img, qemu-ga)."""
    process = root / "proc" / str(pid)
    words = [
        word.decode(errors="replace")
        for word in (read_if_there(process / "cmdline") or b"")[:LONGEST].split(b"\0")
    ]
    if not _RUNS_A_GUEST.match(words[0].rpartition("/")[2]):
        return None
    qemu = parse(pid, words)
    status_text = read_if_there(process / "status") or b""
    status = kib_fields(status_text)
    allowed = re.search(rb"^Mems_allowed_list:\s*(\S+)", status_text, re.MULTILINE)
    nodes = numbers(allowed[1].decode()) if allowed else None
    return msgspec.structs.replace(
        qemu,
        connection=_with_owner(qemu.connection, status_text),
        vfio=_vfio(process),
        hugetlb=status.get(b"HugetlbPages"),
        locked=status.get(b"VmLck"),
        nodes=_narrowed(nodes, _bound(process)),
    )


def _with_owner(connection: str | None, status: bytes) -> str | None:
    """The connection, which for a session is that of the user whose process has this status."""
    uid = re.search(rb"^Uid:\s*(\d+)", status, re.MULTILINE)
    if connection != "qemu:///session" or uid is None:
        return connection
    return f"{connection}?socket=/run/user/{uid[1].decode()}/libvirt/libvirt-sock"


def parse(pid: int, words: Sequence[str]) -> Qemu:
    """What the words of a command line say."""
    given: dict[str, list[str]] = {}
    for option, value in itertools.pairwise(words):
        given.setdefault(option, []).append(value)

    def options(name: str, first: str) -> list[dict[str, str]]:
        return [_options(value, first) for value in given.get(name, ())]

    chardevs = {one.get("id", ""): one.get("path", "") for one in options("-chardev", "backend")}
    monitors = [one.get("chardev", "") for one in options("-mon", "chardev") if one.get("mode") == "control"]
    qmp = [
        word for name in ("-qmp", "-qmp-pretty") for word in given.get(name, ()) if word.startswith("unix:")
    ]
    devices = options("-device", "driver")
    words_for_all = (
        word.partition("=") for word in given.get("-global", ()) if word.startswith("virtio-balloon")
    )
    globally = {name.partition(".")[2]: value for name, _, value in words_for_all}
    agents = [one.get("chardev", "") for one in devices if one.get("name") == _GUEST_AGENT]
    sockets = [word.removeprefix("unix:").partition(",")[0] for word in qmp]
    sockets += [chardevs[one] for one in monitors if chardevs.get(one)]
    # libvirt hands its monitor over as an open file, and its key as a path.
    keys = [one.get("file", "") for one in options("-object", "qom-type") if one.get("qom-type") == "secret"]
    paths = (*sockets, *chardevs.values(), *keys)
    manager = next((owner for path in paths if (owner := manager_of(path)) is not None), None)
    kind = "session" if any(map(is_of_a_session, paths)) else "system"
    return Qemu(
        pid=pid,
        name=next((one["guest"] for one in options("-name", "guest") if one.get("guest")), None),
        uuid=next((word.lower() for word in given.get("-uuid", ())), None),
        manager=manager,
        connection=f"qemu:///{kind}" if manager == "libvirt" else None,
        qmp=tuple(sockets),
        agent=next((chardevs[one] for one in agents if chardevs.get(one)), None),
        balloon=next(
            ({**globally, **one} for one in devices if one.get("driver", "").startswith("virtio-balloon")),
            None,
        ),
    )


def numbers(text: str) -> tuple[int, ...]:
    """The numbers of a list such as "0-1,4"; none when it is no such list."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()) or int(last or first) > 4096:
            return ()
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def _options(value: str, first: str) -> dict[str, str]:
    """Options as QEMU takes them: "DRIVER,key=value,..." or, since 6.2, JSON; `first` is the key of a bare word."""
    if value.startswith("{"):
        try:
            given = msgspec.json.decode(value.encode(), type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            return {}
        return {key: _word(one) for key, one in given.items()}
    parts = value.replace(",,", "\1").split(",")
    pairs = [
        (part if at or "=" in part else f"{first}={part}").partition("=") for at, part in enumerate(parts)
    ]
    return {key: one.replace("\1", ",") if equals else "on" for key, equals, one in pairs}


def _word(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _vfio(process: Path) -> bool | None:
    """Whether it has a VFIO group or device open; None when that may not be seen."""
    try:
        return any("vfio" in target for target in _open_files(process))
    except OSError:
        return None


def _open_files(process: Path) -> Iterator[str]:
    for each in (process / "fd").iterdir():
        try:
            yield str(each.readlink())
        except FileNotFoundError:
            continue  # closed meanwhile


def _bound(process: Path) -> tuple[int, ...] | None:
    """The nodes to which a policy binds most of its anonymous memory (numactl, host-nodes); None: none does."""
    try:
        with (process / "numa_maps").open("rb") as file:
            text = file.read(LONGEST)
    except OSError:
        return None
    most = max(_BOUND.findall(text), key=lambda found: int(found[1]), default=None)
    return numbers(most[0].decode()) if most is not None else None


def _narrowed(allowed: tuple[int, ...] | None, bound: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if not bound:
        return allowed or None
    return tuple(node for node in bound if not allowed or node in allowed) or bound
