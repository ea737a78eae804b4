"""What `autoballoon doctor` looked at: facts of the host and of each guest, and what it finds in them.

Bytes and seconds; None is unknown, never 0. No fact is a judgement: views/diagnosis.py makes findings of them.
"""

from enum import Enum

import msgspec


class Manager(msgspec.Struct, frozen=True):
    """A process that moves guests' memory, and is not ours."""

    name: str
    """As its makers call it."""
    pid: int


class Lack(Enum):
    """What keeps a guest's control group from having a limit of its own."""

    SHARED = "shared"
    """Other processes are in it too."""
    UNCOUNTED = "uncounted"
    """No memory is counted for it alone."""
    HOSTS = "hosts"
    """It is the one that is the host's capacity, or lies above it."""
    UNSEEN = "unseen"
    """It cannot be seen, or not be read, from here."""


CONTAINMENT = "containment"
"""The kind of a complaint about a guest that `contain = true` does not reach."""


class Complaint(msgspec.Struct, frozen=True):
    """What the daemon complains of, or what keeps a connection closed."""

    where: str
    """The guest's key, the socket or the connection."""
    says: str
    kind: str | None = None
    """What it is about, where a finding of ours may say the same: CONTAINMENT."""


class Uncontained(msgspec.Struct, frozen=True):
    """Why `contain = true` does not reach a guest."""

    lack: Lack
    why: str
    """In words that go on from the guest's name."""
    group: str | None = None
    """The folder of its control group, where it can be seen."""


class HostFacts(msgspec.Struct, frozen=True):
    """The host, as far as it matters to ballooning."""

    root: bool = True
    """We may look into every process."""
    capacity: str | None = None
    """Why the configured capacity cannot be used, in a sentence."""
    contain: str | None = None
    """Why `contain = true`, which is configured, cannot work on this machine, in a sentence."""
    pool: int | None = None
    """Bytes that there are for guests: without the reserve and, where a daemon runs, what else the host uses."""
    swap: int | None = None
    """Bytes of swap that are switched on."""
    psi: bool | None = None
    """The kernel tells of memory pressure."""
    huge_pages: str | None = None
    """Transparent ones: always, madvise or never."""
    max_ptes_none: int | None = None
    """How many of 512 pages khugepaged may fill that nobody has touched."""
    nodes: tuple[int, ...] = ()
    """NUMA nodes that have memory."""
    managers: tuple[Manager, ...] = ()


class GuestFacts(msgspec.Struct, frozen=True):
    """One guest, from wherever it could be looked at."""

    key: str
    """The socket, the libvirt URI and UUID, or "pid N"."""
    name: str
    seen: bool = True
    """The configuration names a way to it."""
    managed: bool = True
    """The configuration lets it be moved."""
    manager: str | None = None
    """Who started it, told from its sockets: "libvirt", "Proxmox VE" or nobody known."""
    connection: str | None = None
    """The URI of the libvirt that runs it."""
    trouble: str | None = None
    """What keeps us from speaking with it, in a sentence with its mend."""
    owned: str | None = None
    """A sentence when its socket belongs to another manager."""
    pid: int | None = None
    running: bool = True
    ram: int | None = None
    actual: int | None = None
    resident: int | None = None
    floor: int | None = None
    """The size below which it is never asked to be."""

    balloon: bool | None = None
    """It has a balloon device."""
    device: str | None = None
    """Where that is in QEMU's object tree."""
    driver: bool | None = None
    """The guest's driver is up."""
    period_s: int | None = None
    """Between two requests for statistics; 0: none are requested."""
    age_s: float | None = None
    """Of the last statistics; None with `answered` false: none ever came."""
    answered: bool | None = None
    """Statistics have come since it started."""
    autodeflate: bool | None = None
    """deflate-on-oom: it may take memory back when it runs short."""
    reporting: bool | None = None
    """free-page-reporting: it returns free memory by itself."""
    kernel: str | None = None
    """The guest's own, as its agent tells it: "5.4.0-150-generic"."""

    vfio: bool | None = None
    """It has devices of the host, whose memory is pinned."""
    hugetlb: int | None = None
    """Bytes of it on huge pages set aside for it."""
    locked: int | None = None
    nodes: tuple[int, ...] | None = None
    """The NUMA nodes that its memory may lie on."""
    uncontained: Uncontained | None = None
    """Why it is not contained, where that is configured."""


class Facts(msgspec.Struct, frozen=True):
    """All that was looked at."""

    host: HostFacts
    guests: tuple[GuestFacts, ...] = ()
    daemon: bool = False
    """A daemon runs, and guests were seen through it: a socket serves one client."""
    configured: bool = False
    """There is a configuration, or a daemon with one."""
    said: tuple[Complaint, ...] = ()
    """What the daemon itself complains of."""


class Severity(Enum):
    """How bad it is."""

    CANNOT = "cannot"
    """Something cannot work."""
    WARNING = "warning"
    """It works, less well or less safely."""
    NOTE = "note"


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be."""

    id: str
    """A word for programs; docs/reference/doctor.md lists them."""
    severity: Severity
    where: str
    """"host", or the guest's name."""
    what: str
    why: str
    mend: str
    """The command, the option or the XML that mends it."""
