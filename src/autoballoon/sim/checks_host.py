"""Checks of the host."""

from typing import TYPE_CHECKING

from autoballoon.core.units import size_text
from autoballoon.sim.check import SLACK, MustHold, Watcher
from autoballoon.sim.course import Seconds, Size

if TYPE_CHECKING:
    from autoballoon.sim.world import World


class ReserveBackWithin(MustHold, frozen=True, kw_only=True, tag="reserve-back-within"):
    """The host has its reserve free from `seconds` after `after` on, to within a hundredth of it."""

    seconds: Seconds

    def watcher(self) -> Watcher:
        return _Reserve(self)


class _Reserve(Watcher):
    def __init__(self, must: ReserveBackWithin) -> None:
        super().__init__()
        self.must = must

    def see(self, world: "World") -> None:
        host = world.host
        reserve = host.spec.reserve.of(host.ram)
        if world.now <= self.must.after + self.must.seconds + 1e-6:
            return
        self.has_looked = True
        if host.free < reserve * 0.99:
            self.fails(
                f"at {world.now:.1f} s the host has {size_text(int(host.free))} free and a reserve of "
                f"{size_text(reserve)}"
            )


class RoomThereWithin(MustHold, frozen=True, kw_only=True, tag="room-there-within"):
    """At some time within `seconds` after `after` the host has `size` free beyond its reserve."""

    size: Size
    seconds: Seconds

    def watcher(self) -> Watcher:
        return _Room(self)


class _Room(Watcher):
    def __init__(self, must: RoomThereWithin) -> None:
        super().__init__()
        self.must = must
        self.most = 0.0

    def see(self, world: "World") -> None:
        host, until = world.host, self.must.after + self.must.seconds
        if self.must.after < world.now <= until:
            self.has_looked = True
            self.most = max(self.most, host.free - host.spec.reserve.of(host.ram))
        elif world.now > until and self.most < self.must.size - SLACK:
            self.fails(f"until {until:.1f} s there was room for {size_text(int(self.most))} at most")


class NoHostOom(MustHold, frozen=True, kw_only=True, tag="no-host-oom"):
    """The host kills no QEMU."""

    def watcher(self) -> Watcher:
        return _HostKills(self)


class _HostKills(Watcher):
    def __init__(self, must: NoHostOom) -> None:
        super().__init__()
        self.must = must
        self.before = 0

    def see(self, world: "World") -> None:
        if world.now < self.must.after:
            self.before = len(world.host.kills)

    def end(self, world: "World") -> None:
        self.has_looked = True
        if killed := world.host.kills[self.before :]:
            self.fails(f"the host killed {', '.join(killed)}")


class HostSwapAtMost(MustHold, frozen=True, kw_only=True, tag="host-swap-at-most"):
    """The host swaps no more than `size`, in and out together."""

    size: Size

    def watcher(self) -> Watcher:
        return _HostSwap(self)


class _HostSwap(Watcher):
    def __init__(self, must: HostSwapAtMost) -> None:
        super().__init__()
        self.must = must
        self.before = 0.0

    def see(self, world: "World") -> None:
        moved = world.host.swap_in + world.host.swap_out
        if world.now < self.must.after:
            self.before = moved
            return
        self.has_looked = True
        if moved - self.before > self.must.size:
            self.fails(f"the host has swapped {size_text(int(moved - self.before))} by {world.now:.1f} s")


class GuaranteeHolds(MustHold, frozen=True, kw_only=True, tag="guarantee-holds"):
    """From `after` on what guests hold or were promised, with QEMU's overhead, fits the pool; as the world has it."""

    def watcher(self) -> Watcher:
        return _Guarantee(self)


class _Guarantee(Watcher):
    def __init__(self, must: GuaranteeHolds) -> None:
        super().__init__()
        self.must = must

    def see(self, world: "World") -> None:
        host = world.host
        pool = host.ram - host.spec.reserve.of(host.ram) - host.own
        charges = sum(
            max(guest.target, guest.actual, guest.resident) + guest.overhead(world.now)
            for guest in world.there
        )
        # The reserve is there for what overhead still grows.
        if world.now < self.must.after:
            return
        self.has_looked = True
        if charges > pool + SLACK * len(world.there):
            self.fails(
                f"at {world.now:.1f} s guests may hold {size_text(int(charges))} and the pool is "
                f"{size_text(int(pool))}"
            )
