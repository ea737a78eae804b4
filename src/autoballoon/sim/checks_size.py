"""Checks of what guests are made: their sizes, and the targets that they are given."""

from collections import deque
from typing import TYPE_CHECKING

from autoballoon.core.units import size_text
from autoballoon.sim.check import SLACK, OfGuests, Watcher
from autoballoon.sim.course import Seconds, Size

if TYPE_CHECKING:
    from autoballoon.sim.world import World


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
            way = max(0.0, self.must.size - SLACK - guest.actual)
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
            if world.now < self.must.after:
                continue
            self.has_looked = True
            if guest.actual < guest.floor - SLACK:
                self.fails(
                    f"{guest.name} has {size_text(int(guest.actual))} at {world.now:.1f} s, under its floor of "
                    f"{size_text(guest.floor)}"
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
        """Of the sizes since the time that counts, each that is larger than all after it; the first is the largest."""

    def see(self, world: "World") -> None:
        for guest in self.must.concerned(world):
            # A move of the very first tick is seen by the size that the guest still has.
            seen = self.seen.setdefault(guest.name, deque([(world.now, int(guest.actual))]))
            while seen and seen[-1][1] <= guest.target:
                seen.pop()
            seen.append((world.now, guest.target))
            while seen[0][0] <= world.now - self.must.seconds:
                seen.popleft()
            most = seen[0][1]
            allowed = most * self.must.part if world.now >= self.must.first else 0
            if world.now < self.must.after:
                continue
            self.has_looked = True
            if most - guest.target > allowed:
                self.fails(
                    f"at {world.now:.1f} s {guest.name} is to have {size_text(guest.target)}, and had "
                    f"{size_text(most)} less than {self.must.seconds:.0f} s before"
                )
