"""Checks of guests."""

from collections import deque
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from autoballoon.core.share import water_fill
from autoballoon.core.units import size_text
from autoballoon.sim.check import SLACK, OfGuests, Watcher
from autoballoon.sim.course import Seconds, Size

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


class ReachesSizeBy(OfGuests, frozen=True, kw_only=True, tag="reaches-size-by"):
    """From `after` on the guest becomes `size` large within `seconds` and the time that its balloon needs."""

    size: Size
    seconds: Seconds

    def watcher(self) -> Watcher:
        return _Reaching(self)


class _Reaching(Watcher):
    def __init__(self, must: ReachesSizeBy) -> None:
        super().__init__()
        self.must = must
        self.due: dict[str, float] = {}
        self.done: set[str] = set()

    def see(self, world: "World") -> None:
        if world.now < self.must.after:
            return
        for guest in self.must.concerned(world):
            self.has_looked = True
            way = max(0.0, self.must.size - guest.actual)
            due = self.due.setdefault(
                guest.name, world.now + way / guest.group.deflate + self.must.seconds + 1e-6
            )
            if way <= 0:
                self.done.add(guest.name)
            elif world.now > due and guest.name not in self.done:
                self.fails(
                    f"{guest.name} has {size_text(int(guest.actual))} at {world.now:.1f} s and should have had "
                    f"{size_text(self.must.size)}"
                )


class NoGuestOom(OfGuests, frozen=True, kw_only=True, tag="no-guest-oom"):
    """No guest's kernel kills anything for want of memory."""

    def watcher(self) -> Watcher:
        return _Kills(self)


class _Kills(Watcher):
    def __init__(self, must: NoGuestOom) -> None:
        super().__init__()
        self.must = must

    def see(self, world: "World") -> None:
        for guest in self.must.concerned(world):
            if world.now < self.must.after:
                continue
            self.has_looked = True
            if guest.oom_kills:
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


class KeepsFloor(OfGuests, frozen=True, kw_only=True, tag="keeps-floor"):
    """No guest is ever smaller than its floor."""

    def watcher(self) -> Watcher:
        return _Floor(self)


class _Floor(Watcher):
    def __init__(self, must: KeepsFloor) -> None:
        super().__init__()
        self.must = must

    def see(self, world: "World") -> None:
        for guest in self.must.concerned(world):
            floor = guest.group.floor.of(guest.max)
            if world.now < self.must.after:
                continue
            self.has_looked = True
            if guest.actual < floor - SLACK:
                self.fails(
                    f"{guest.name} has {size_text(int(guest.actual))} at {world.now:.1f} s, under its floor of "
                    f"{size_text(floor)}"
                )


class MovesAtMost(OfGuests, frozen=True, kw_only=True, tag="moves-at-most"):
    """From `after` on, the targets of these guests move so often at most in all; 0: they have come to rest."""

    moves: int

    def watcher(self) -> Watcher:
        return _Moves(self)


class _Moves(Watcher):
    def __init__(self, must: MovesAtMost) -> None:
        super().__init__()
        self.must = must
        self.targets: dict[str, int] = {}
        self.moves = 0

    def see(self, world: "World") -> None:
        targets = {guest.name: guest.target for guest in self.must.concerned(world)}
        if world.now > self.must.after:
            self.has_looked = self.has_looked or bool(targets)
            moved = [name for name, size in targets.items() if self.targets.get(name, size) != size]
            self.moves += len(moved)
            if self.moves > self.must.moves:
                self.fails(
                    f"{moved[0] if moved else self.must.guest} was moved at {world.now:.1f} s, move {self.moves}"
                )
        self.targets = targets


class StaysWithin(OfGuests, frozen=True, kw_only=True, tag="stays-within"):
    """From `after` on the guests' sizes lie between `least` and `most`."""

    least: Size = Size(0)
    most: Size = Size(1 << 60)

    def watcher(self) -> Watcher:
        return _Within(self)


class _Within(Watcher):
    def __init__(self, must: StaysWithin) -> None:
        super().__init__()
        self.must = must

    def see(self, world: "World") -> None:
        if world.now < self.must.after:
            return
        for guest in self.must.concerned(world):
            self.has_looked = True
            if not self.must.least - SLACK <= guest.actual <= self.must.most + SLACK:
                self.fails(f"{guest.name} has {size_text(int(guest.actual))} at {world.now:.1f} s")


class ShrinksAtMost(OfGuests, frozen=True, kw_only=True, tag="shrinks-at-most"):
    """From `after` on no guest is asked to become smaller by more than `part` of its size within `seconds`; nor at all
    before `first`."""

    part: float
    seconds: Seconds
    first: Seconds = Seconds(0)

    def watcher(self) -> Watcher:
        return _Shrinks(self)


class _Shrinks(Watcher):
    def __init__(self, must: ShrinksAtMost) -> None:
        super().__init__()
        self.must = must
        self.seen: dict[str, deque[tuple[float, int]]] = {}

    def see(self, world: "World") -> None:
        for guest in self.must.concerned(world):
            # A move of the very first tick is seen by the size that the guest still has.
            seen = self.seen.setdefault(guest.name, deque([(world.now, int(guest.actual))]))
            seen.append((world.now, guest.target))
            while seen[0][0] <= world.now - self.must.seconds:
                seen.popleft()
            most = max(size for _, size in seen)
            allowed = most * self.must.part if world.now >= self.must.first else 0
            if world.now < self.must.after:
                continue
            self.has_looked = True
            if most - guest.target > allowed:
                self.fails(
                    f"at {world.now:.1f} s {guest.name} is to have {size_text(guest.target)}, and had "
                    f"{size_text(most)} less than {self.must.seconds:.0f} s before"
                )


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
        if world.now <= self.must.after:
            self.before = {guest.name: guest.lost_s for guest in self.must.concerned(world)}

    def end(self, world: "World") -> None:
        for guest in world.guests:
            if not fnmatchcase(guest.name, self.must.guest):
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
