"""What is known of one guest behind a QMP socket, and how each thing learnt changes it. No input or output."""

from dataclasses import dataclass, field

from autoballoon.core.model import Guest
from autoballoon.guests.stats import Nonsense, Reading, check

STALE_STATUS = frozenset(
    {"SUSPEND", "SUSPEND_DISK", "WAKEUP", "SHUTDOWN", "POWERDOWN", "GUEST_PANICKED", "MIGRATION"}
)
"""Events after which `query-status` may say something else."""
NOT_MIGRATING = frozenset({"none", "completed", "failed", "cancelled"})
"""Of a migration's states (MigrationStatus, qapi/migration.json): in all others memory is being sent or received."""

EVENT_HELD_S = 1.1
"""QEMU sends one BALLOON_CHANGE a second (monitor/monitor.c): of those between, the last, when the second is over."""

LARGEST = 1 << 50
"""Bytes that no host has. With a number of 400 digits, which JSON allows, the arithmetic for all guests would fail."""


@dataclass(slots=True)
class Known:
    """One guest as known now. Times are of the monotonic clock; sizes are bytes."""

    name: str
    pid: int | None
    max: int
    actual: int
    running: bool = True
    incoming: bool = False
    migrating: bool = False
    has_balloon: bool = True
    driver: bool | None = None
    deflates_itself: bool | None = None
    born_at: float | None = None
    """When QEMU started or the guest was last reset."""
    reading: Reading | None = None
    taken_at: float = 0.0
    """Not later than when `reading` was taken in the guest, as far as it matters: see `learn_stats`."""
    looked_at: float = 0.0
    """When we last asked QEMU for its statistics."""
    moved_at: float = 0.0
    """When we last set a target ..."""
    set_size: int | None = None
    """... and which: QEMU keeps it for a driver that is not up yet."""
    period_s: int | None = None
    """Between two requests for statistics."""
    interval_was_off: bool = False
    """We switched the statistics on, and switch them off again when we leave."""
    nonsense: str | None = None
    """Why the last statistics were dropped; None when they were not."""
    dropped: int = 0
    _raw: object = field(default=None, repr=False)
    """QEMU's last answer, to tell whether the next one is another."""
    _is_void: bool = False
    """The guest was reset and QEMU still serves statistics of the time before."""
    _void_size: int | None = None
    """Its size when it was reset: QEMU shows that until the new driver tells another, and a driver that has nothing to
    do tells none (measured, QEMU 7.2: 300 MiB for ever, of a guest that had all of its 512)."""

    def learn_stats(self, raw: object, asked_at: float, *, is_fresh: bool = False) -> None:
        """Take in QEMU's answer for guest-stats, asked for at `asked_at`; `is_fresh`: proven to be taken after that.

        An answer that differs from the one before was taken somewhere between the two looks. It counts as taken now,
        unless we moved the guest in that time: then as taken at the earlier look, before the move, so that nothing
        is shrunk on a reading that may be older than the last move.
        """
        before, self.looked_at = self.looked_at, asked_at
        was_void, self._is_void = self._is_void, False
        if was_void and not is_fresh:
            self._raw = raw
            return
        if raw == self._raw and not is_fresh:
            return
        # The first answer of all may be of any age: it counts only when it was asked for.
        is_first, self._raw = self._raw is None, raw
        try:
            reading = check(raw, self.max)
        except Nonsense as error:
            self.nonsense, self.dropped = str(error), self.dropped + 1
            return
        self.nonsense = None
        if not reading.last_update or (is_first and not is_fresh):
            return
        if self.reading is not None and not reading.counts_from_before(self.reading):
            self.born_at = asked_at  # it was reset while we were not connected
        self.reading = reading
        self.taken_at = before if not is_fresh and before <= self.moved_at else asked_at

    def learn_max(self, size: int) -> None:
        """Take in how much RAM it has; after some was unplugged it is no larger than that, before QEMU says so too."""
        self.max, self.actual = size, min(self.actual, size)

    def learn_event(self, actual: object, now: float) -> bool:
        """Take in the size that an event tells at `now`; whether it is another than before.

        QEMU holds events back for a second after the last. One that comes as soon after a reset is of the life before:
        that is what QEMU goes on showing, and no size of this one.
        """
        is_past = self.born_at is not None and now - self.born_at < EVENT_HELD_S
        if is_past and self._void_size is not None and isinstance(actual, int):
            self._void_size = actual
            return False
        return self.learn_actual(actual, is_event=True)

    def learn_actual(self, actual: object, *, is_event: bool = False) -> bool:
        """Take in the guest's size as QEMU shows it, or as an event tells it; whether it is another than before."""
        if not isinstance(actual, int) or isinstance(actual, bool) or actual < 0:
            return False
        if actual == self._void_size and not is_event:
            return False
        self._void_size = None
        before, self.actual = self.actual, min(actual, self.max)
        return self.actual != before

    def learn_status(self, answer: object) -> None:
        """Take in the answer of query-status."""
        if isinstance(answer, dict):
            self.running = answer.get("running") is True
            self.incoming = answer.get("status") == "inmigrate"

    def learn_migration(self, answer: object) -> None:
        """Take in the answer of query-migrate, or a MIGRATION event; an answer without a status means none yet."""
        if isinstance(answer, dict):
            self.migrating = str(answer.get("status", "none")) not in NOT_MIGRATING

    def was_reset(self, now: float) -> None:
        """The guest starts anew: QEMU keeps the old actual and the old statistics, and neither is true any more."""
        self.born_at = now
        self.reading = None
        self._is_void = True
        if self._void_size is None:  # libvirt tells of one reset twice
            self._void_size = self.actual
        self.actual = self.max
        self.deflates_itself = None
        self.driver = None if self.driver is None else False

    def as_guest(self, key: str, now: float) -> Guest:
        """The guest in the one schema; the bounds and the host's view are for others to fill in."""
        reading = self.reading or Reading(last_update=0)
        return Guest(
            key=key,
            name=self.name,
            max=self.max,
            actual=self.actual,
            pid=self.pid,
            running=self.running,
            managed=self.has_balloon,
            age_s=None if self.reading is None else max(0.0, now - self.taken_at),
            up_s=None if self.born_at is None else max(0.0, now - self.born_at),
            driver=self.driver,
            incoming=self.incoming,
            migrating=self.migrating,
            deflates_itself=self.deflates_itself,
            period_s=self.period_s,
            total=reading.total,
            available=reading.available,
            free=reading.free,
            caches=reading.caches,
            swap_in=reading.swap_in,
            swap_out=reading.swap_out,
            major_faults=reading.major_faults,
            oom_kills=reading.oom_kills,
            alloc_stalls=reading.alloc_stalls,
        )
