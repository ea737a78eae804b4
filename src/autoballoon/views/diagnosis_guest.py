"""What may be wrong with one guest, from its facts."""

import re
from collections.abc import Callable, Iterator

from autoballoon.core.facts import Facts, Finding, GuestFacts, Severity
from autoballoon.core.health import SILENT_S
from autoballoon.core.track import RESIDENT_SLACK
from autoballoon.core.units import size_text
from autoballoon.views.diagnosis_contain import not_contained
from autoballoon.views.mends import device, leave_alone, period, prefer_node, second_socket

CANNOT, WARNING, NOTE = Severity.CANNOT, Severity.WARNING, Severity.NOTE
LONGEST_PERIOD_S = 2
"""Statistics that come more rarely are asked for before each move, and a guest that runs short is seen late."""
SHRINKER = ((4, 19), (5, 6))
"""Guest kernels whose balloon deflates by a shrinker: from, to (drivers/virtio/virtio_balloon.c)."""

_LOAD_DRIVER = (
    "modprobe virtio_balloon && echo virtio_balloon > /etc/modules-load.d/virtio_balloon.conf"
    "      # in the guest; Windows: the Balloon driver and service of virtio-win"
)
_SEND_STATISTICS = (
    "in a Windows guest: blnsvr.exe -i      # the service of virtio-win; else update the guest's kernel"
)

GUEST_FINDINGS = (
    "not-connected",
    "others-socket",
    "no-answer",
    "no-process",
    "no-balloon",
    "no-driver",
    "statistics-off",
    "no-statistics",
    "statistics-old",
    "statistics-rare",
    "autodeflate-off",
    "reporting-off",
    "shrinker-kernel",
    "kernel-unknown",
    "vfio",
    "hugetlb",
    "locked",
    "frees-nothing",
    "numa",
    "not-contained",
)


def of_guest(guest: GuestFacts, facts: Facts) -> Iterator[Finding]:
    """The guest's findings. One that is left alone, or not configured for, is not judged for what it lacks."""
    if not guest.seen and facts.configured:
        yield _not_connected(guest)
        return
    if guest.owned is not None or guest.trouble is not None:
        yield _unreachable(guest)
    if not guest.managed:
        return
    for find in _LOOKS:
        yield from find(guest, facts)


def _not_connected(guest: GuestFacts) -> Finding:
    how = second_socket(guest)
    if guest.manager != "libvirt":
        how = f"give it a monitor of its own and name it in [connect] qmp:\n{how}"
    return Finding(
        "not-connected",
        WARNING,
        guest.name,
        f"its QEMU ({guest.key}) runs, and nothing in [connect] leads to it",
        "It is not balanced, and what it holds counts as the host's own use: it makes the pool smaller.",
        how,
    )


def _unreachable(guest: GuestFacts) -> Finding:
    if guest.owned is not None:
        return Finding(
            "others-socket",
            CANNOT,
            guest.name,
            guest.owned,
            "A monitor socket serves one client: whoever holds it locks its owner's own tools out.",
            second_socket(guest),
        )
    return Finding(
        "no-answer",
        CANNOT,
        guest.name,
        f"{guest.key}: {guest.trouble}",
        "A guest that cannot be spoken with is not moved, and keeps what it holds.",
        f"virsh domstate {guest.name} --reason      # paused: virsh resume {guest.name}; else who stopped its QEMU?"
        if guest.manager == "libvirt"
        else "as the sentence says; who has the socket open: ss -xp | grep " + guest.key.rpartition("/")[2],
    )


def _process(guest: GuestFacts, facts: Facts) -> Iterator[Finding]:
    if guest.pid is None and guest.trouble is None and guest.owned is None and facts.host.root:
        yield Finding(
            "no-process",
            WARNING,
            guest.name,
            "no QEMU process could be found that serves its socket",
            "What the host really holds for it is unknown, so a balloon that frees nothing is not noticed.",
            "run autoballoon on the host's own /proc, outside of containers (hostPID)",
        )


def _balloon(guest: GuestFacts, facts: Facts) -> Iterator[Finding]:
    if guest.balloon is False:
        yield Finding(
            "no-balloon",
            CANNOT,
            guest.name,
            "it has no balloon device",
            "Nothing can be taken from it or lent to it; it counts as all that it may hold.",
            device(guest),
        )


def _driver(guest: GuestFacts, facts: Facts) -> Iterator[Finding]:
    if guest.balloon is not False and guest.driver is False and guest.running:
        yield Finding(
            "no-driver",
            CANNOT,
            guest.name,
            "its balloon driver is not up",
            "The balloon does not move without it. A guest that has just been started needs some seconds.",
            _LOAD_DRIVER,
        )


def _statistics(guest: GuestFacts, facts: Facts) -> Iterator[Finding]:
    if guest.balloon is False or guest.driver is False or not guest.running:
        return
    if guest.period_s == 0 and not facts.daemon:
        yield Finding(
            "statistics-off",
            NOTE,
            guest.name,
            "its statistics are switched off",
            "Nothing is moved without them. The daemon switches them on while it runs, in a dry run too; "
            "a guest that has them from its start can be moved sooner.",
            period(guest),
        )
    elif guest.answered is False:
        yield Finding(
            "no-statistics",
            CANNOT,
            guest.name,
            "statistics are asked for, and its driver has sent none"
            if guest.driver
            else "statistics are asked for, and none came: its driver is not up, or sends none",
            "Without a reading no guest is made smaller: it keeps all that it holds.",
            _SEND_STATISTICS if guest.driver else f"{_LOAD_DRIVER}\n{_SEND_STATISTICS}",
        )
    elif guest.age_s is not None and guest.age_s > max(SILENT_S, 2 * (guest.period_s or 1)):
        yield Finding(
            "statistics-old",
            WARNING,
            guest.name,
            f"its last statistics are {guest.age_s:.0f} s old",
            "QEMU asks again only when the guest has answered: a guest that hangs is served with its old numbers "
            "for ever, and is not moved.",
            "look at the guest's console: does it hang?",
        )
    if guest.period_s is not None and guest.period_s > LONGEST_PERIOD_S:
        yield Finding(
            "statistics-rare",
            CANNOT if guest.period_s > SILENT_S else WARNING,
            guest.name,
            f"its statistics come every {guest.period_s} s only",
            f"A guest whose last word is older than {SILENT_S:.0f} s is left alone, and one that runs short "
            "is seen late.",
            period(guest),
        )


def _deflate(guest: GuestFacts, facts: Facts) -> Iterator[Finding]:
    if guest.balloon is not False and guest.autodeflate is False:
        yield Finding(
            "autodeflate-off",
            WARNING,
            guest.name,
            "it may not take memory back by itself (deflate-on-oom is off)",
            "When it runs short between two looks, its kernel kills processes while its balloon is full.",
            device(guest, "autodeflate"),
        )


def _reporting(guest: GuestFacts, facts: Facts) -> Iterator[Finding]:
    if guest.balloon is not False and guest.reporting is False:
        yield Finding(
            "reporting-off",
            NOTE,
            guest.name,
            "it does not report free pages",
            "With it a guest returns memory that it has freed within about two seconds and by itself; "
            "the balloon is then left with the cache. Linux 5.7 or newer in the guest.",
            device(guest, "reporting"),
        )


def _kernel(guest: GuestFacts, facts: Facts) -> Iterator[Finding]:
    if guest.balloon is False or guest.autodeflate is False:
        return
    version = _version(guest.kernel)
    if version is not None and SHRINKER[0] <= version <= SHRINKER[1]:
        yield Finding(
            "shrinker-kernel",
            WARNING,
            guest.name,
            f"its kernel is {guest.kernel}: from 4.19 to 5.6 reading files deflates the balloon",
            "There the balloon is emptied by the kernel's shrinker, also for page cache: the target is never "
            "reached and the guest is busy with nothing.",
            "update its kernel to 5.7 or newer, or take the right from it: "
            + device(guest, "no-autodeflate"),
        )
    elif guest.kernel is None:
        yield Finding(
            "kernel-unknown",
            NOTE,
            guest.name,
            "its kernel is not known",
            "Kernels from 4.19 to 5.6 empty the balloon whenever they read files; no guest agent told which it has.",
            f"virsh guestinfo {guest.name} --os"
            if guest.manager == "libvirt"
            else "uname -r      # in the guest",
        )


def _pinned(guest: GuestFacts, facts: Facts) -> Iterator[Finding]:
    frees_nothing = "The guest gives memory up and the host gets nothing back: QEMU may not let go of it."
    if guest.vfio:
        yield Finding(
            "vfio",
            CANNOT,
            guest.name,
            "it has a device of the host (VFIO), so all its memory is pinned",
            frees_nothing,
            leave_alone(guest, "a paravirtual device (virtio-net, virtio-blk) in place of the host's own"),
        )
    if guest.hugetlb:
        yield Finding(
            "hugetlb",
            CANNOT,
            guest.name,
            f"{size_text(guest.hugetlb)} of it lie on huge pages set aside for it",
            frees_nothing + " A balloon's page is 4 KiB, and of a page of 2 MiB it frees no part.",
            leave_alone(
                guest, "no <hugepages/> in <memoryBacking>" if guest.manager == "libvirt" else "no hugetlb"
            ),
        )
    if guest.locked and guest.locked * 2 > (guest.ram or 0) and not guest.vfio:
        yield Finding(
            "locked",
            CANNOT,
            guest.name,
            f"{size_text(guest.locked)} of its QEMU are locked in memory",
            frees_nothing,
            leave_alone(
                guest,
                "no <locked/> in <memoryBacking>"
                if guest.manager == "libvirt"
                else "-overcommit mem-lock=off",
            ),
        )


def _resident(guest: GuestFacts, facts: Facts) -> Iterator[Finding]:
    if guest.resident is None or guest.actual is None or guest.vfio or guest.hugetlb:
        return
    beyond = guest.resident - guest.actual
    if beyond > RESIDENT_SLACK and guest.balloon is not False and guest.driver is not False:
        yield Finding(
            "frees-nothing",
            WARNING,
            guest.name,
            f"the host holds {size_text(guest.resident)} for it, and it is {size_text(guest.actual)} large",
            f"Its balloon has freed {size_text(beyond)} less than it took: pinned memory, a snapshot or a migration "
            "under way, or khugepaged that filled it again.",
            "echo 0 > /sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none      # or it is filled again\n"
            f"grep -E 'VmLck|HugetlbPages' /proc/{guest.pid}/status; ls -l /proc/{guest.pid}/fd | grep vfio"
            "      # pinned? then\n" + leave_alone(guest, "memory that is not pinned"),
        )


def _numa(guest: GuestFacts, facts: Facts) -> Iterator[Finding]:
    nodes = facts.host.nodes
    if guest.nodes and len(nodes) > 1 and set(guest.nodes) < set(nodes):
        yield Finding(
            "numa",
            WARNING,
            guest.name,
            f"its memory is bound to NUMA node {', '.join(map(str, guest.nodes))} of {len(nodes)}",
            "The daemon counts one pool for the whole host: what other nodes have free does not help this guest.",
            prefer_node(guest, guest.nodes[0]),
        )


_LOOKS: tuple[Callable[[GuestFacts, Facts], Iterator[Finding]], ...] = (
    _process, _balloon, _driver, _statistics, _deflate, _reporting, _kernel, _pinned, _resident, _numa, not_contained,
)  # fmt: skip


def _version(kernel: str | None) -> tuple[int, int] | None:
    found = re.match(r"(\d{1,4})\.(\d{1,4})", kernel or "")
    return (int(found[1]), int(found[2])) if found else None
