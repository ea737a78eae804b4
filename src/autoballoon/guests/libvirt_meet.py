"""Getting to know a libvirt domain that has just been seen, or is to be looked at again."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from autoballoon.guests.libvirt_domain import Domain
from autoballoon.guests.libvirt_orders import Told, tell_of
from autoballoon.guests.libvirt_uri import pid_folders
from autoballoon.guests.libvirt_xml import Description, Unreadable, describe
from autoballoon.guests.naming import printable
from autoballoon.guests.qmp_guest import Known


@dataclass(frozen=True, slots=True)
class Terms:
    """What all connections share; seconds."""

    verify: Callable[[str, str, Sequence[str]], int | None]
    """(name, UUID, folders with pid files) -> pid of the domain's QEMU, or None."""
    age_s: Callable[[int], float | None]
    """Since a process began; None when it is gone."""
    patience_s: float = 2.0
    """For one call: then it is left where it is."""
    fresh_s: float = 0.5
    """A reading of all domains this young is not taken again."""
    look_s: float = 0.05
    """A tick waits so long for the reading that it began (2 ms with one guest)."""
    ask_s: float = 0.05
    """Whoever asks guests for statistics waits so long; later answers count all the same."""
    backoff_s: tuple[float, float] = (0.2, 5.0)
    """Before the first attempt to connect again, and at most before a later one: it doubles."""
    clock: Callable[[], float] = time.monotonic


class Met(msgspec.Struct, frozen=True):
    """A domain and its process."""

    told: Told
    says: Description
    pid: int | None
    age_s: float | None

    def as_domain(self, before: Domain | None, row: Mapping[str, object], now: float) -> Domain:
        """The domain as known from now on, `row` of the last reading included.

        `before` is what was known under this UUID: it is kept, statistics, age and all, when the process is
        verified to be the same, or is not to be verified and the domain has not been started since.
        """
        is_same = before is not None and before.known.pid == self.pid
        if before is not None and is_same and (self.pid is not None or before.number == self.told.number):
            says = self.says
            if before.is_asked and not says.period_s:
                says = msgspec.structs.replace(says, period_s=before.says.period_s)
            before.number, before.says, before.reviewed_at, before.is_stale = (
                self.told.number,
                says,
                now,
                False,
            )
            domain = before
        else:
            known = Known(
                name=printable(self.told.name),
                pid=self.pid,
                max=0,
                actual=0,
                born_at=None if self.age_s is None else now - self.age_s,
            )
            domain = Domain(self.told.uuid, self.told.number, known, self.says, now, now)
            domain.learn_max(row.get("balloon.maximum"))
            known.actual = known.max
        domain.known.has_balloon = self.says.has_balloon
        domain.learn_row(row, now)
        return domain


def meet(api: Any, uri: str, uuids: Sequence[str], terms: Terms, connection: Any) -> list[Met]:
    """The running domains among `uuids`; blocks, and asks no QEMU. What has no readable XML is left out."""
    folders = pid_folders(uri, dict(os.environ))
    met = []
    for told in tell_of(api, connection, uuids):
        if told.number < 0:  # it has ended meanwhile
            continue
        try:
            says = describe(told.live, told.inactive)
        except Unreadable:
            continue
        pid = terms.verify(told.name, told.uuid, folders)
        met.append(Met(told, says, pid, None if pid is None else terms.age_s(pid)))
    return met
