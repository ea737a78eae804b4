"""From facts to findings: what cannot work, why it matters, and the command or XML that mends it."""

from collections.abc import Callable, Iterator

from autoballoon.core.facts import CONTAINMENT, Facts, Finding, GuestFacts, HostFacts, Severity
from autoballoon.core.units import size_text
from autoballoon.views.diagnosis_guest import GUEST_FINDINGS, of_guest

CANNOT, WARNING, NOTE = Severity.CANNOT, Severity.WARNING, Severity.NOTE

_MANAGERS = {
    "MOM": (CANNOT, "systemctl disable --now momd mom-vdsm"),
    "pvestatd": (WARNING, "qm set VMID --shares 0      # for each guest that autoballoon moves"),
    "squeezed": (CANNOT, "systemctl disable --now squeezed"),
    "xenopsd": (CANNOT, "none: these are Xen's guests; run autoballoon on a QEMU/KVM host"),
    "qmemman": (CANNOT, "systemctl disable --now qubes-qmemman"),
    "autoballoon": (CANNOT, "kill {pid}      # or leave it, and do not start another"),
}
"""By the name that host.checkup gives: how bad it is, and what to do."""

HOST_FINDINGS = (
    "not-root",
    "capacity",
    "contain",
    "no-swap",
    "no-psi",
    "khugepaged",
    "other-manager",
    "floors",
    "no-configuration",
    "no-guests",
    "daemon-says",
)


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """All findings, the worst first; of equal ones the host's first, then by guest."""
    found = [*_of_host(facts.host), *_floors(facts), *_of_both(facts)]
    for guest in facts.guests:
        found += of_guest(guest, facts)
    order = list(Severity)
    return tuple(sorted(found, key=lambda one: order.index(one.severity)))


def can_work(findings: tuple[Finding, ...]) -> bool:
    """Whether nothing prevents the job."""
    return all(one.severity is not CANNOT for one in findings)


def every_id() -> tuple[str, ...]:
    """The ids of all findings there are."""
    return (*HOST_FINDINGS, *GUEST_FINDINGS)


def _of_host(host: HostFacts) -> Iterator[Finding]:
    for find in _LOOKS:
        yield from find(host)


def _root(host: HostFacts) -> Iterator[Finding]:
    if not host.root:
        yield Finding(
            "not-root",
            WARNING,
            "host",
            "doctor does not run as root, so it cannot look into QEMU's processes",
            "What the host holds for a guest, VFIO devices and locked memory stay unknown; "
            "the daemon without root cannot tell whether a balloon frees anything.",
            "sudo autoballoon doctor",
        )


def _capacity(host: HostFacts) -> Iterator[Finding]:
    if host.capacity is not None:
        yield Finding(
            "capacity",
            CANNOT,
            "host",
            host.capacity,
            "Without a capacity nobody knows when the host runs short, and the daemon does not start.",
            '[host]\ncapacity = "auto"      # or a size, or cgroup:/PATH of a group with a limit',
        )


def _contain(host: HostFacts) -> Iterator[Finding]:
    if host.contain is not None:
        yield Finding(
            "contain",
            CANNOT,
            "host",
            host.contain.partition(";")[0],
            "The daemon does not start with it: a backstop that is asked for and not there is worse than none.",
            "[host]\ncontain = false\n# or add cgroup_no_v1=memory to GRUB_CMDLINE_LINUX in /etc/default/grub, then:\n"
            "update-grub && reboot",
        )


def _swap(host: HostFacts) -> Iterator[Finding]:
    if host.swap == 0:
        yield Finding(
            "no-swap",
            WARNING,
            "host",
            "the host has no swap",
            "A guest can take memory faster than any daemon looks. Where the host cannot swap for these "
            "seconds, its kernel kills a guest's QEMU instead.",
            "# on ext4 or XFS; elsewhere swap needs a partition\n"
            "fallocate -l 4G /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile\n"
            "echo '/swapfile none swap sw 0 0' >> /etc/fstab",
        )


def _psi(host: HostFacts) -> Iterator[Finding]:
    if host.psi is False:
        yield Finding(
            "no-psi",
            WARNING,
            "host",
            "the kernel does not tell of memory pressure (PSI is off)",
            "PSI is the last alarm: without it the daemon does not look early when the host has begun to stall.",
            "# add psi=1 to GRUB_CMDLINE_LINUX in /etc/default/grub, then:\nupdate-grub && reboot",
        )


def _khugepaged(host: HostFacts) -> Iterator[Finding]:
    if host.huge_pages in ("always", "madvise") and host.max_ptes_none:
        yield Finding(
            "khugepaged",
            WARNING,
            "host",
            f"khugepaged may fill balloons again: max_ptes_none is {host.max_ptes_none}",
            "It makes a huge page where up to so many of 512 pages hold nothing: what a guest gave up "
            "is then charged to the host again, and nobody uses it.",
            "echo 0 > /sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none\n"
            "echo 'w /sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none - - - - 0' "
            "> /etc/tmpfiles.d/khugepaged.conf",
        )


def _managers(host: HostFacts) -> Iterator[Finding]:
    for manager in host.managers:
        severity, mend = _MANAGERS[manager.name]
        yield Finding(
            "other-manager",
            severity,
            "host",
            f"another balloon manager is at work: {manager.name}, pid {manager.pid}",
            "Two managers of one guest undo each other's moves: a size that the other one sets becomes the "
            "guest's ceiling here.",
            mend.format(pid=manager.pid),
        )


_LOOKS: tuple[Callable[[HostFacts], Iterator[Finding]], ...] = (
    _root, _capacity, _contain, _swap, _psi, _khugepaged, _managers,
)  # fmt: skip


def _floors(facts: Facts) -> Iterator[Finding]:
    floors = sum(guest.floor or 0 for guest in facts.guests if guest.managed and guest.running)
    if facts.host.pool is not None and floors > facts.host.pool:
        yield Finding(
            "floors",
            WARNING,
            "host",
            f"the floors of its guests are {size_text(floors)}, and it has {size_text(facts.host.pool)} for them",
            "Nobody is asked to be smaller than its floor, so guests may keep memory that others need.",
            '[defaults]\nfloor = "10%"      # of a guest\'s RAM; or lower those of some guests',
        )


def _of_both(facts: Facts) -> Iterator[Finding]:
    if not facts.configured:
        yield Finding(
            "no-configuration",
            NOTE,
            "host",
            "no configuration was given and no daemon answers, so guests are known from /proc alone",
            "What only QEMU can tell (is the driver up, do statistics come) is not looked at.",
            "autoballoon doctor --config FILE      # the file that autoballoon run is given",
        )
    elif not facts.guests:
        yield Finding(
            "no-guests",
            NOTE,
            "host",
            "there is no guest to look at",
            "The daemon runs all the same and picks guests up as they come.",
            "autoballoon check FILE      # does [connect] name the right sockets?",
        )
    explained = {key for guest in facts.guests if not _is_fine(guest) for key in (guest.key, guest.name)}
    uncontained = {guest.key for guest in facts.guests if guest.managed and guest.uncontained}
    for one in facts.said:
        if one.where not in explained and not (one.kind == CONTAINMENT and one.where in uncontained):
            yield Finding(
                "daemon-says",
                WARNING,
                one.where,
                one.says,
                "The running daemon complains of it, so it keeps a guest from being seen or balanced well.",
                "as the sentence says; autoballoon status shows whether it is gone",
            )


def _is_fine(guest: GuestFacts) -> bool:
    """Nothing of it explains by itself what the daemon complains of."""
    return guest.balloon is not False and guest.trouble is None and guest.owned is None
