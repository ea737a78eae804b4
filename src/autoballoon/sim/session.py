"""What the daemon knows of one guest, and when: the QMP session's rules on virtual time.

Statistics are polled by QEMU once a second and looked at once a second, or as often as a calm guest is, at moments of
their own; a moving balloon is followed as guests/follow.py says; QEMU announces a change of size at most once a
second. The rules are those of guests/qmp_session.py and guests/qmp_guest.py.
"""

import msgspec

from autoballoon.core.calm import CALM_EVERY_S
from autoballoon.core.model import Guest as Seen
from autoballoon.core.units import PAGE
from autoballoon.guests.follow import Follow, Looks
from autoballoon.sim.body import Report
from autoballoon.sim.guest import Guest

POLL_S = 1.0
"""QEMU's interval for statistics, and that of our looks at them."""
EVENT_S = 1.0
"""QEMU sends one BALLOON_CHANGE in so long at most (QAPI event rate limit)."""
PID = 1
"""Of every QEMU: none is replaced by another."""
EARLY = 1e-9
"""Seconds by which something due may come early: times are sums of steps."""
GOLDEN = 0.6180339887
"""Multiples of it modulo 1 lie evenly, however many there are."""


class Session:
    """One guest as the daemon knows it."""

    def __init__(self, guest: Guest, number: int, now: float) -> None:
        self.guest = guest
        group = guest.group
        self.key = guest.name
        self.driver = guest.driver
        self.running = guest.running
        self.actual = int(guest.actual)
        self.born_at = self.up_since = guest.born_at
        """When it was last reset; and when it seems to have been."""
        self.report: Report | None = None
        self.taken_at = self.looked_at = now
        self.moved_at = -1e9
        self.set_size: int | None = None
        self.early: str | None = None
        """Why a tick should come early, if one should ..."""
        self.freed = False
        """... for those only who wait for room: the guest has given memory up."""
        self._polled: Report | None = None
        phase = (number * GOLDEN) % 1.0
        self._poll_at = now + POLL_S * ((phase + 0.5) % 1.0)
        self._looks = Looks(phase, POLL_S, CALM_EVERY_S)
        self._looks.looked(now)
        self._event_at = -1e9
        self._balloon = Follow()
        self._headroom = group.headroom.of(guest.max)
        if guest.driver:
            self.ask(now)
        self.taken_at = now

    # What the daemon does.

    def ask(self, now: float) -> bool:
        """Fresh statistics, where the guest gives any, and its size; whether it did."""
        if not (self.guest.running and self.driver):
            return False
        self.actual = int(self.guest.actual)
        if not (self._answers(now) and self.guest.group.answers_when_asked):
            return False
        self._poll(now)
        self._learn(now)
        self.taken_at = self.looked_at = now
        return True

    def relax(self, is_so: bool, now: float) -> None:
        """Whether the guest may be looked at less often."""
        self._looks.relax(now, is_so=is_so)

    def order(self, size: int, now: float) -> None:
        """Set a target."""
        self.guest.order(size)
        self.set_size, self.moved_at = size, now
        if self.driver:
            self._balloon.begin(now, self.actual, size)

    def step(self, now: float) -> None:
        """All that falls due by `now`."""
        guest = self.guest
        if self.born_at != guest.born_at:
            self._was_reset(now)
        if self.driver is not guest.driver:
            self._driver_came_up(now)
        if now + EARLY >= self._poll_at:
            self._poll_at += POLL_S
            if self._answers(now):
                self._poll(now)
        if now + EARLY >= self._looks.due:
            self._looks.looked(now)
            if now - self.looked_at > POLL_S / 2:
                self._look(now)
        if self._balloon.at is not None and now + EARLY >= self._balloon.at:
            self._follow_balloon(now)
        elif int(guest.actual) != self.actual and now - self._event_at >= EVENT_S and guest.driver:
            self._balloon_changed(now)

    def shown(self, now: float) -> Seen:
        """The guest in the one schema."""
        guest = self.guest
        report = self.report
        group = guest.group
        seen = Seen(
            key=self.key, name=guest.name, max=guest.max, actual=self.actual, floor=guest.floor,
            ceiling=guest.ceiling, headroom=self._headroom, shares=group.shares, pid=PID,
            running=guest.running, managed=group.manage,
            may_suspend=group.may_suspend, migrating=group.migrates is not None and now >= group.migrates,
            age_s=None if report is None else max(0.0, now - self.taken_at), up_s=max(0.0, now - self.up_since),
            driver=self.driver, deflates_itself=group.deflates_itself if self.driver else None,
            total=report.total if report else None, available=report.available if report else None,
            free=report.free if report else None, caches=report.caches if report else None,
            swap_in=report.swap_in if report else None, swap_out=report.swap_out if report else None,
            major_faults=report.major_faults if report else None, resident=max(0, int(guest.resident)),
            swapped=int(guest.pages.swapped), overhead=guest.overhead(now),
        )  # fmt: skip
        return self._with_agent(seen, now) if group.agent and guest.driver and guest.running else seen

    # How it comes to know.

    def _with_agent(self, seen: Seen, now: float) -> Seen:
        """What only a guest side knows."""
        guest = self.guest
        truth = msgspec.structs.replace(
            seen,
            swap_total=int(guest.group.swap),
            swap_used=int(guest.own_swap),
            oom_kills=guest.oom_kills,
            refaults=int(guest.refaults / PAGE),
            psi_some_s=guest.stalled_s,
        )
        return guest.group.tells(guest, truth, now)

    def _answers(self, now: float) -> bool:
        return self.guest.running and self.guest.driver and self.guest.group.speaks(self.guest, now)

    def _poll(self, now: float) -> None:
        self._polled = self.guest.group.says(self.guest, self.guest.report(), now)

    def _look(self, now: float) -> None:
        before, self.looked_at = self.looked_at, now
        if self._polled is None or self._polled is self.report:
            return
        self._learn(now)
        # Taken somewhere between two looks: before the move, if we moved the guest meanwhile.
        self.taken_at = before if before <= self.moved_at else now

    def _learn(self, now: float) -> None:
        """Counters that fell: it seems to have been reset unseen."""
        old, new = self.report, self._polled
        if old is not None and new is not None:
            fell = (
                was is not None and now_is is not None and now_is < was
                for was, now_is in zip(old[4:], new[4:], strict=True)
            )
            if any(fell):
                self.up_since = now
        self.report = new

    def _driver_came_up(self, now: float) -> None:
        self.driver = self.guest.driver
        self._balloon.begin(now, self.actual, self.set_size)
        self.early = f"{self.guest.name}: its balloon driver is up"

    def _was_reset(self, now: float) -> None:
        guest = self.guest
        self.report = self._polled = None
        self.actual, self.driver = guest.max, guest.driver
        self.born_at = self.up_since = guest.born_at
        self._balloon.stop()
        self.early = f"{guest.name} was reset"

    def _follow_balloon(self, now: float) -> None:
        self.actual = int(self.guest.actual)
        if self._balloon.looked(now, self.actual) and not self._balloon.grows:
            self.early, self.freed = f"{self.guest.name} is at its size", True

    def _balloon_changed(self, now: float) -> None:
        before, self._event_at = self.actual, now
        self.actual = int(self.guest.actual)
        self._balloon.told(now)
        if self.actual < before and self._balloon.at is None:
            self._balloon.begin(now, self.actual)
        elif self.actual > before and self.actual > (self.set_size or 0):
            self.early = f"{self.guest.name} takes memory back by itself"
