"""Checks of what guests suffer: want of memory, time lost, processes killed."""

from typing import TYPE_CHECKING

from autoballoon.core.share import water_fill
from autoballoon.core.units import size_text
from autoballoon.sim.check import SLACK, OfGuests, Watcher
from autoballoon.sim.course import Seconds

if TYPE_CHECKING:
    from autoballoon.sim.world import World


class SatisfiedWithin(OfGuests, frozen=True, kw_only=True, tag="satisfied-within"):
    """No guest starves longer at a stretch than `seconds` and what its balloon needs for what it gets meanwhile."""

    seconds: Seconds

    def watcher(self) -> Watcher:
        return _Starvation(self)


class _Starvation(Watcher):
    def __init__(self, must: SatisfiedWithin) -> None:
        super().__init__()
        self.must = must
        self.since: dict[str, tuple[float, float]] = {}

    def see(self, world: "World") -> None:
        for guest in self.must.concerned(world):
            self.has_looked = self.has_looked or (world.now >= self.must.after and guest.driver)
            if world.now < self.must.after or not (guest.starves and guest.running and guest.driver):
                self.since.pop(guest.name, None)
                continue
            since, had = self.since.setdefault(guest.name, (world.now, guest.actual))
            balloon_s = max(0.0, guest.actual - had) / guest.group.deflate
            if world.now - since > self.must.seconds + balloon_s + 1e-6:
                self.fails(
                    f"{guest.name} starved for more than {world.now - since:.1f} s from {since:.1f} s on and still "
                    f"lacks {size_text(int(guest.lack))}; its balloon alone took {balloon_s:.1f} s"
                )


class NoGuestOom(OfGuests, frozen=True, kw_only=True, tag="no-guest-oom"):
    """No guest's kernel kills anything for want of memory."""

    def watcher(self) -> Watcher:
        return _Kills(self)


class _Kills(Watcher):
    def __init__(self, must: NoGuestOom) -> None:
        super().__init__()
        self.must = must
        self.before: dict[str, int] = {}

    def see(self, world: "World") -> None:
        for guest in self.must.concerned(world):
            if world.now < self.must.after:
                self.before[guest.name] = guest.oom_kills
                continue
            self.has_looked = True
            if guest.oom_kills > self.before.get(guest.name, 0):
                self.fails(f"{guest.name} killed something for want of memory before {world.now:.1f} s")


class NoGuestBelowFairShare(OfGuests, frozen=True, kw_only=True, tag="no-guest-below-fair-share"):
    """No guest starves for longer than `seconds` while it has less than its fair share of the pool in memory.

    The fair share is what it would get if the pool were handed out by water-filling over what the guests use, by
    shares. A guest that lies or grabs counts as if it used all it may have.
    """

    seconds: Seconds = Seconds(3)

    def watcher(self) -> Watcher:
        return _Fairness(self)


class _Fairness(Watcher):
    def __init__(self, must: NoGuestBelowFairShare) -> None:
        super().__init__()
        self.must = must
        self.since: dict[str, float] = {}

    def see(self, world: "World") -> None:
        able = [guest for guest in self.must.concerned(world) if guest.running and guest.driver]
        self.has_looked = self.has_looked or (world.now >= self.must.after and bool(able))
        starving = [guest for guest in able if guest.starves]
        if world.now < self.must.after or not starving:
            self.since.clear()
            return
        fair = fair_shares(world)
        poor = {
            g.name for g in starving if g.actual - g.pages.swapped_hot < min(g.used, fair[g.name]) - SLACK
        }
        self.since = {name: since for name, since in self.since.items() if name in poor}
        for name in sorted(poor):
            since = self.since.setdefault(name, world.now)
            if world.now - since > self.must.seconds + 1e-6:
                self.fails(
                    f"{name} has {size_text(int(world.guest(name).actual))} at {world.now:.1f} s and starves since "
                    f"{since:.1f} s; its fair share is {size_text(fair[name])}"
                )


def fair_shares(world: "World") -> dict[str, int]:
    """The pool handed out over what the guests use, by shares; bytes by name."""
    host = world.host
    guests = world.there
    pool = host.ram - host.spec.reserve.of(host.ram) - host.own
    pool -= sum(guest.overhead(world.now) for guest in guests)
    claims = [int(min(guest.used, guest.max) if guest.group.counts else guest.max) for guest in guests]
    shares = water_fill(max(0, int(pool)), claims, [guest.group.shares for guest in guests])
    return {guest.name: share for guest, share in zip(guests, shares, strict=True)}


class LosesAtMost(OfGuests, frozen=True, kw_only=True, tag="loses-at-most"):
    """From `after` on no guest loses more than `seconds`."""

    seconds: Seconds

    def watcher(self) -> Watcher:
        return _Losses(self)


class _Losses(Watcher):
    def __init__(self, must: LosesAtMost) -> None:
        super().__init__()
        self.must = must
        self.before: dict[str, float] = {}

    def see(self, world: "World") -> None:
        if world.now <= self.must.after:  # one that the host killed has gone, and loses on
            self.before = {guest.name: guest.lost_s for guest in world.guests}

    def end(self, world: "World") -> None:
        for guest in world.guests:
            if not self.must.names(guest.name):
                continue
            self.has_looked = True
            lost = guest.lost_s - self.before.get(guest.name, 0.0)
            if lost > self.must.seconds:
                self.fails(f"{guest.name} lost {lost:.1f} s")


class AllRunAtEnd(OfGuests, frozen=True, kw_only=True, tag="all-run-at-end"):
    """When all is over no guest is stopped."""

    def watcher(self) -> Watcher:
        return _Running(self)


class _Running(Watcher):
    def __init__(self, must: AllRunAtEnd) -> None:
        super().__init__()
        self.must = must

    def end(self, world: "World") -> None:
        for guest in self.must.concerned(world):
            self.has_looked = True
            if not guest.running:
                self.fails(f"{guest.name} is still stopped")
