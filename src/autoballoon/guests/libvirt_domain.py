"""What is known of one libvirt domain, and how each thing learnt changes it. No input or output."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from autoballoon.core.health import DRIVER_WAIT_S
from autoballoon.core.model import Guest
from autoballoon.core.units import KIB, MIB, PAGE
from autoballoon.guests.follow import EVENT_GAP_S, Follow
from autoballoon.guests.libvirt_xml import Description
from autoballoon.guests.qmp_guest import LARGEST, Known

RUNNING, BLOCKED, PAUSED = 1, 2, 3
"""virDomainState (libvirt-domain.h): these numbers are part of libvirt's stable interface."""
PAUSED_USER, PAUSED_MIGRATION, PAUSED_STARTING_UP = 1, 2, 11
"""virDomainPausedReason."""

_SIZES = {
    "available": "total-memory",  # libvirt's names mislead: this is MemTotal ...
    "usable": "available-memory",  # ... and this MemAvailable
    "unused": "free-memory",
    "disk_caches": "disk-caches",
    "swap_in": "swap-in",
    "swap_out": "swap-out",
}
# libvirt has no names for what Linux 6.12 counts besides: allocation stalls and OOM kills.
_COUNTS = {"major_fault": "major-faults", "minor_fault": "minor-faults"}
_FOLLOWS = 64 * MIB
"""A balloon of this size tells whether the total follows it: a kernel keeps some 20 to 40 MiB out of its total."""


def as_qemu_says(record: Mapping[str, object], prefix: str = "", update: str = "last_update") -> object:
    """libvirt's statistics (KiB) in the form and unit of QEMU's `guest-stats`, to be checked as those are."""
    stats = {}
    for names, unit in ((_SIZES, KIB), (_COUNTS, 1)):
        for name, tag in names.items():
            value = record.get(prefix + name)
            if value is not None:
                stats[f"stat-{tag}"] = value * unit if isinstance(value, int) else value
    return {"stats": stats, "last-update": record.get(prefix + update)}


@dataclass(slots=True)
class Domain:
    """One running domain. Times are of the monotonic clock; sizes are bytes."""

    uuid: str
    number: int
    """libvirt's id: another one at each start."""
    known: Known
    says: Description
    seen_at: float
    """When it was last met, or seen in a reading of all."""
    reviewed_at: float
    """When its XML was last read."""
    has_run: bool = False
    """It has been seen running: what is paused now does not come in from elsewhere."""
    out: int = 0
    """Calls for it that are late and have not come back."""
    missing_since: float | None = None
    """Since when libvirt gives no statistics of it, because another call holds it or its QEMU does not answer."""
    unanswered_since: float | None = None
    """Since when it runs and has sent no statistics, ever."""
    settled_since: float = 0.0
    """When its size was last seen to change."""
    state_from: float = -1e9
    """An event or an order of ours told whether it runs: a reading begun before that may tell what was before it."""
    size_from: float = -1e9
    """A reading begun before that may show an older size than an event or QEMU itself has told."""
    told_at: float = -1e9
    """When statistics were last taken in: those of a reading begun before that may be older."""
    one_call: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while an order to it or a question is under way: a QEMU that hangs keeps one thread of them and no more."""
    orders: int = 0
    """Orders that wait for that, or are under way."""
    hurry: threading.Event = field(default_factory=threading.Event)
    """Set while there is any: a question under way waits for its guest no longer."""
    balloon: Follow = field(default_factory=Follow)
    """When to look at it while it shrinks."""
    switched_on: bool = False
    """We switched its statistics on, and switch them off again when we leave."""
    is_asked: bool = False
    """A question of ours sets its period to 0 and back, and is not known to have got so far: a 0 is not its owner's."""
    is_stale: bool = False
    """Its XML has changed."""

    @property
    def period_s(self) -> int:
        """Between two requests for statistics, as it should be."""
        return self.says.period_s or 1

    def learn_row(self, record: Mapping[str, object], asked_at: float, came_at: float | None = None) -> None:
        """Take in what one reading, begun at `asked_at` and ended at `came_at` (None: at once), says of this domain."""
        self.seen_at = asked_at
        if asked_at >= self.state_from:
            self.learn_state(record.get("state.state"), record.get("state.reason"))
        self.learn_max(record.get("balloon.maximum"))
        if "balloon.last-update" not in record:
            # Only who has the domain's job gets statistics; without, libvirt gives what it knows without QEMU.
            if self.known.has_balloon and self.missing_since is None:
                self.missing_since = asked_at
        else:
            self.missing_since = None
            if not self._is_older_news(record["balloon.last-update"], asked_at):
                self.learn_stats(as_qemu_says(record, "balloon.", "last-update"), asked_at, came_at)
            self._see_whether_a_driver_is_missing(asked_at)
        if self.known.driver is False:
            return  # after a reset libvirt shows the size of the time before
        if asked_at >= self.size_from:
            self.learn_size(record.get("balloon.current"), asked_at)

    def _is_older_news(self, update: object, asked_at: float) -> bool:
        """Whether a reading begun at `asked_at`, which another QEMU may have held up, brings statistics from before
        those that are known: its lower counts would look like a reset."""
        reading = self.known.reading
        if reading is None or asked_at >= self.told_at:
            return False
        return isinstance(update, int) and update <= reading.last_update

    def _see_whether_a_driver_is_missing(self, now: float) -> None:
        """libvirt does not tell of drivers. A guest that has all its memory and never sent statistics has none, or one
        that is of no more use."""
        known = self.known
        is_asked = known.running and (self.says.period_s > 0 or self.switched_on)
        if known.reading is not None or not is_asked or known.actual < known.max:
            self.unanswered_since = None
        elif self.unanswered_since is None:
            self.unanswered_since = now
        elif (
            now - self.unanswered_since >= DRIVER_WAIT_S
            and known.driver is None
            and known.born_at is not None
        ):
            known.driver = False

    def learn_answer(
        self, answer: Mapping[str, object], asked_at: float, came_at: float | None = None, *, is_fresh: bool
    ) -> None:
        """Take in the answer of virDomainMemoryStats, which asks QEMU for the size too; see `learn_row`."""
        self.learn_stats(as_qemu_says(answer), asked_at, came_at, is_fresh=is_fresh)
        if self.known.driver is not False and "actual" in answer:
            # The size that libvirt shows without asking QEMU is that of the last event: a shrink would look taken back.
            self.size_from = max(self.size_from, asked_at + EVENT_GAP_S)
            self.learn_size(answer["actual"], asked_at)

    def learn_stats(
        self, raw: object, asked_at: float, came_at: float | None = None, *, is_fresh: bool = False
    ) -> None:
        """Take in statistics in QEMU's form: a reading shows too that the driver is up, and how the guest counts."""
        known = self.known
        if known.born_at is not None and asked_at < known.born_at:
            return  # asked before the reset that we have heard of meanwhile
        before = known.reading
        known.learn_stats(raw, asked_at, is_fresh=is_fresh)
        if known.reading is None:
            return
        if known.reading is not before:
            self.told_at = max(self.told_at, asked_at if came_at is None else came_at)
        known.driver = True
        if not self.says.may_deflate:
            known.deflates_itself = False
        elif known.deflates_itself is None:
            known.deflates_itself = True  # offered, and Linux takes it
        total = known.reading.total
        if (
            total is not None
            and known.actual < known.max - _FOLLOWS
            and self.settled_since < known.taken_at - 2
        ):
            known.deflates_itself = self.says.may_deflate and total > known.actual

    def learn_size(self, size_kib: object, now: float, *, is_event: bool = False) -> bool:
        """Take in the balloon's size in KiB, which an event told or we have read; whether it is another than before."""
        if is_event:
            self.size_from = max(self.size_from, now)
        size = size_kib * KIB if isinstance(size_kib, int) else size_kib
        changed = self.known.learn_event(size, now) if is_event else self.known.learn_actual(size)
        if changed:
            self.settled_since = now
        return changed

    def learn_max(self, size_kib: object) -> None:
        """Take in the RAM that it has, base and plugged, in KiB."""
        if isinstance(size_kib, int) and 0 < size_kib <= LARGEST // KIB:
            self.known.learn_max(size_kib * KIB)

    def learn_state(self, state: object, reason: object) -> None:
        """Take in virDomainState and its reason."""
        self.known.running = state in (RUNNING, BLOCKED)
        self.has_run |= self.known.running
        coming = state == PAUSED and reason in (PAUSED_MIGRATION, PAUSED_STARTING_UP)
        self.known.incoming = coming and not self.has_run

    def learn_running(self, running: bool, now: float) -> None:
        """Take in whether it runs, which an event or the answer to an order of ours told now."""
        self.known.running = running
        self.has_run |= running
        self.state_from = now

    def was_reset(self, now: float) -> None:
        """The guest starts anew."""
        self.known.was_reset(now)
        self.settled_since = now
        self.size_from = now
        self.unanswered_since = None
        self.balloon.stop()

    def is_held(self, late_s: float) -> bool:
        """Whether its QEMU, or whoever has its job in libvirt, keeps it from being asked anything.

        By what the last readings told: that there is no reading says nothing of this domain.
        """
        is_missing = self.missing_since is not None and self.seen_at - self.missing_since >= late_s
        return self.out > 0 or is_missing

    def has_arrived(self) -> bool:
        """Whether it has the size that we asked for."""
        target = self.known.set_size
        return target is not None and abs(self.known.actual - target) < PAGE

    def as_guest(self, key: str, now: float) -> Guest:
        """The guest in the one schema; its ceiling is what its owner wants, for the operator's to be put beside."""
        guest = self.known.as_guest(key, now)
        return msgspec.structs.replace(
            guest,
            ceiling=self.says.ceiling,
            managed=guest.managed and not self.says.has_virtio_mem,
            period_s=self.period_s if guest.managed else None,
        )

    def problems(self, late_s: float) -> list[str]:
        """What keeps this guest from being balanced, each in one sentence."""
        found = []
        if not self.known.has_balloon:
            found.append(
                "the guest has no balloon device; add <memballoon model='virtio'/> to its XML and start it anew"
            )
        elif self.says.has_virtio_mem:
            found.append("it has virtio-mem, whose size libvirt adds to the balloon's; it is left alone")
        elif self.is_held(late_s):
            found.append(
                "its QEMU does not answer libvirt, or another job holds it; its last statistics are kept and age"
                f" (`virsh domjobinfo {self.known.name}` tells)"
            )
        if self.known.pid is None:
            found.append("its QEMU process could not be verified, so its host memory is unknown; run as root")
        if self.known.nonsense is not None:
            found.append(
                f"{self.known.nonsense}; {self.known.dropped} such readings dropped, look at its driver"
            )
        return found
