"""What is asked of libvirt, as calls that block: each runs in a thread, with a connection of the module `api`."""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from autoballoon.core.units import KIB
from autoballoon.guests.libvirt_domain import BLOCKED, PAUSED, PAUSED_USER, RUNNING

Row = tuple[str, int, Mapping[str, object]]
"""(UUID, libvirt's id, what it tells)"""

_UNDER_WAY = (1, 2)
"""virDomainJobType: bounded, unbounded."""
_WRITES_MEMORY = (2, 5, 6, 8)
"""virDomainJobOperation: save, migration out, snapshot, dump."""

_FIRST_LOOK_S, _LAST_LOOK_S = 0.004, 0.3
"""When an answer is first looked for (an idle guest needs 2 to 4 ms), and when no longer."""


class Told(msgspec.Struct, frozen=True):
    """What libvirt tells of one domain when it is met."""

    uuid: str
    number: int
    name: str
    live: str
    inactive: str | None
    """None for a transient domain."""


def read_all(api: Any, connection: Any) -> list[Row]:
    """Every running or paused domain, in one call that waits for none whose job another holds.

    It does wait for a domain that libvirt itself has locked, as it does while a hook for it runs.
    """
    flags = api.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | api.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    return _rows(connection.getAllDomainStats(_groups(api), flags))


def read_some(api: Any, uuids: Sequence[str], connection: Any) -> list[Row]:
    """As `read_all`, of these domains alone: no other is waited for."""
    domains = []
    for uuid in uuids:
        try:
            domains.append(connection.lookupByUUIDString(uuid))
        except api.libvirtError:
            if not connection.isAlive():
                raise
    if not domains:  # none would mean all
        return []
    flags = api.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    return [row for row in _rows(connection.domainListGetStats(domains, _groups(api), flags)) if row[1] >= 0]


def _groups(api: Any) -> int:
    groups: int = api.VIR_DOMAIN_STATS_BALLOON | api.VIR_DOMAIN_STATS_STATE
    return groups


def _rows(records: Iterable[tuple[Any, Mapping[str, object]]]) -> list[Row]:
    return [(domain.UUIDString(), domain.ID(), record) for domain, record in records]


def tell_of(api: Any, connection: Any, uuids: Sequence[str]) -> list[Told]:
    """What there is to know of these domains, without those that are gone; asks no QEMU."""
    told = []
    for uuid in uuids:
        try:
            domain = connection.lookupByUUIDString(uuid)
            inactive = domain.XMLDesc(api.VIR_DOMAIN_XML_INACTIVE) if domain.isPersistent() else None
            told.append(Told(uuid, domain.ID(), domain.name(), domain.XMLDesc(0), inactive))
        except api.libvirtError:
            if not connection.isAlive():
                raise
    return told


def set_size(api: Any, domain: Any, size: int) -> bool:
    """Have the balloon make the guest `size` bytes large."""
    domain.setMemoryFlags(size // KIB, api.VIR_DOMAIN_AFFECT_LIVE)
    return True


def shrink(api: Any, domain: Any, size: int) -> bool:
    """As `set_size`, but False for a domain whose memory is being written somewhere: it would be waited for."""
    return not sends_memory(domain) and set_size(api, domain, size)


def sends_memory(domain: Any) -> bool:
    """Whether its memory is being written to another host or a file now; QEMU is asked only during such a job."""
    job = domain.jobStats()
    return job.get("type") in _UNDER_WAY and job.get("operation") in _WRITES_MEMORY


def set_period(api: Any, domain: Any, seconds: int) -> bool:
    """Have QEMU ask for statistics every `seconds`, 0 for never, as long as it runs."""
    domain.setMemoryStatsPeriod(seconds, api.VIR_DOMAIN_AFFECT_LIVE)
    return True


def stop(domain: Any) -> bool | None:
    """Pause a domain that runs; False when it does not, or its memory is being written somewhere.

    None when such a job began meanwhile: libvirt takes it for the job's pause then, and the job may end it.
    """
    state, _ = domain.state()
    if state not in (RUNNING, BLOCKED) or sends_memory(domain):
        return False
    domain.suspend()
    return True if tuple(domain.state()) == (PAUSED, PAUSED_USER) else None


def go(domain: Any) -> bool | None:
    """Let a domain run that a user has paused; False when it stands still for another reason, None while it may be
    the pause of a job that writes its memory somewhere, which tells when it ends.

    libvirt would resume one that was migrated away too, and then two of the same guest would write to one disk.
    """
    state, reason = domain.state()
    if state in (RUNNING, BLOCKED):
        return True
    if (state, reason) != (PAUSED, PAUSED_USER):
        return None if sends_memory(domain) else False
    domain.resume()
    return True


def look(domain: Any) -> Mapping[str, object]:
    """Size and statistics as QEMU has them now."""
    answer: Mapping[str, object] = domain.memoryStats()
    return answer


def ask(api: Any, domain: Any, period_s: int, hurry: threading.Event) -> tuple[Mapping[str, object], bool]:
    """Have the guest send statistics now: (them, whether they are known to have come after this call).

    The period set to 0 and back makes QEMU ask at once. Their time is in whole seconds, so that an answer within the
    second of the one before is known to be new only when a number in it differs.
    With `hurry` set its answer is not waited for.
    """
    before = domain.memoryStats()
    began, wait_s = time.monotonic(), _FIRST_LOOK_S
    set_period(api, domain, 0)
    set_period(api, domain, period_s)
    while True:
        is_over = hurry.wait(wait_s)
        after = domain.memoryStats()
        if _is_another(before, after):
            return after, True
        wait_s *= 2
        if is_over or time.monotonic() - began + wait_s > _LAST_LOOK_S:
            return after, False


def _is_another(before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    apart = {"actual", "rss"}  # not the guest's word
    return {k: v for k, v in before.items() if k not in apart} != {
        k: v for k, v in after.items() if k not in apart
    }
