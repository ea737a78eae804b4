"""Someone who knows the future: hardly anybody can do better, for comparison.

It sees each guest's memory as it is, and what it will want; so it moves memory before it is wanted, as little of it
as it can, and from whoever will do without it for longest. The balloon's speed and the pool bind it as they bind
everybody: what it gives must be there, unless needs exceed the pool.

How far to look ahead has no one answer: who gives a guest what it wants for long moves seldom, who gives it what it
wants for a moment moves little. So there are several plans, and what counts is the best of them, in hindsight (run.py).
"""

from collections.abc import Sequence
from typing import NamedTuple

from autoballoon.core.share import water_fill
from autoballoon.core.units import MIB, page_floor
from autoballoon.sim.body import KEPT_CACHE
from autoballoon.sim.guest import Guest
from autoballoon.sim.host import Host
from autoballoon.sim.keeper import Keeper

EVERY_S = 0.2
MARGIN_S = 1.0
"""It begins so much earlier than the balloons alone would need."""
SPARE = 4 * MIB
"""Beyond what a guest will want."""
WARM_LEVELS = 2
"""Of the levels of a plan's `spare`, so many may be taken for other guests' warm cache."""
STUCK_S = 5.0
STEP = 64 * MIB
"""A guest that gives something gives so much at least, where it has it."""


class Foresight(NamedTuple):
    """How far one plan looks ahead, seconds."""

    soon_s: float = 10.0
    """A guest that is given something gets what it will want for so long ..."""
    long_s: float = 60.0
    """... and who does without for so long gives first."""


FORESIGHTS = (Foresight(), Foresight(soon_s=2.0), Foresight(soon_s=5.0), Foresight(soon_s=30.0))


class _Plan:
    """What one guest has and will want, bytes of its size."""

    __slots__ = ("guest", "has", "keeps_warm", "long", "now", "soon", "stuck", "warm")

    def __init__(
        self, guest: Guest, now: float, horizon: float, fair: float, floor: float, foresight: Foresight
    ) -> None:
        group = guest.group
        top = max(floor, min(group.ceiling.of(guest.max), guest.max))
        begin = now if group.clock == "wall" else guest.work_s
        beside = guest.kernel + KEPT_CACHE + SPARE + guest.low

        def size(seconds: float) -> float:
            want = group.wants(guest, max(guest.want, guest.course.most(begin, begin + seconds)), now)
            need = want + beside
            if not group.counts:
                need = min(need, fair)  # nobody's loss
            return float(min(max(need, floor), top))

        self.guest = guest
        self.now = size(horizon)
        self.soon, self.long = size(max(horizon, foresight.soon_s)), size(foresight.long_s)
        self.warm = min(group.warm, top - self.soon) if group.counts else 0.0
        self.keeps_warm = self.warm
        """What is left of it to the guest when all warm caches share what needs leave."""
        self.stuck = False
        self.has = max(float(guest.target), guest.actual)

    def spare(self, level: int) -> float:
        """What it could give: without ever missing it, for a while, or of its warm cache."""
        warm = self.keeps_warm
        keeps = (self.long + warm, self.soon + warm, self.soon, self.now)[level]
        return 0.0 if self.stuck else max(0.0, guest_target(self.guest) - keeps)


def floor_of(guest: Guest) -> float:
    """What the operator wants it to have at least."""
    return float(min(guest.group.floor.of(guest.max), guest.max))


def guest_target(guest: Guest) -> float:
    """Its size when it has done what it was told."""
    return min(float(guest.target), guest.actual)


class Oracle(Keeper):
    """Moves what will be wanted from those who will not."""

    def __init__(self, foresight: Foresight = FORESIGHTS[0]) -> None:
        self.foresight = foresight

    def begin(self, host: Host, guests: Sequence[Guest], now: float) -> None:
        self.host, self._next = host, now
        self.moves = 0
        self._sizes: dict[str, float] = {}
        self._stuck_until: dict[str, float] = {}
        self._told_at_boot: dict[str, float] = {}
        """In which life, by its beginning."""
        self.step(guests, now)

    def step(self, guests: Sequence[Guest], now: float) -> None:
        if now + 1e-9 < self._next:
            return
        self._next = now + EVERY_S
        for guest in guests:
            if not guest.booted and self._told_at_boot.get(guest.name) != guest.born_at:
                self._told_at_boot[guest.name] = guest.born_at
                self._order(guest, self._boot_size(guest, guests, now))
        able = [guest for guest in guests if guest.driver and guest.running and guest.group.manage]
        horizon = MARGIN_S + self._moving_s(able, now)
        host = self.host
        pool = host.ram - host.spec.reserve.of(host.ram) - max(host.own, host.course.most(now, now + horizon))
        pool -= sum(guest.overhead(now + self.foresight.soon_s) for guest in guests)
        others = {id(guest) for guest in able}
        pool -= sum(
            max(guest.target if guest.group.has_driver else 0, guest.resident)
            for guest in guests
            if id(guest) not in others
        )
        floors = list(map(floor_of, able))
        if sum(floors) > pool:  # nobody is raised to a floor that is not to be had for all
            floors = list(map(min, floors, map(guest_target, able)))
        plans = [
            _Plan(guest, now, horizon, pool / len(able), floor, self.foresight)
            for guest, floor in zip(able, floors, strict=True)
        ]
        self._see_who_is_stuck(plans, now)
        self._move(plans, pool)

    def _see_who_is_stuck(self, plans: Sequence[_Plan], now: float) -> None:
        """Who has not moved since the last look, though told to shrink, is asked for nothing for a while."""
        for plan in plans:
            guest = plan.guest
            if guest.actual > guest.target + MIB and self._sizes.get(guest.name) == guest.actual:
                self._stuck_until[guest.name] = now + STUCK_S
                self._order(guest, page_floor(int(guest.actual)))
                plan.has = guest.actual
            plan.stuck = now < self._stuck_until.get(guest.name, 0.0)
            self._sizes[guest.name] = guest.actual

    def _moving_s(self, guests: Sequence[Guest], now: float) -> float:
        """How long the largest rise to come takes to be freed by all together, and taken."""
        soon = now + self.foresight.soon_s
        rises = [g.kernel + g.course.most(now, soon) - g.actual for g in guests]
        far = max(rises, default=0.0)
        if far <= 0:
            return 0.0
        return far / (sum(g.group.inflate for g in guests) / 2) + far / min(g.group.deflate for g in guests)

    def _boot_size(self, guest: Guest, guests: Sequence[Guest], now: float) -> int:
        """Set before its driver is up, as the daemon may; what nobody else has it may keep."""
        host = self.host
        held = sum(max(g.target, g.resident) + g.overhead(now) for g in guests if g is not guest)
        free = host.ram - host.spec.reserve.of(host.ram) - host.own - held - guest.overhead(now)
        soon = guest.born_at + self.foresight.soon_s
        wants = guest.kernel + guest.course.most(guest.born_at, soon) + guest.group.warm
        size = max(
            guest.group.floor.of(guest.max), min(wants + guest.low + SPARE, host.ram / len(guests)), free
        )
        return page_floor(int(min(size, guest.max)))

    def _move(self, plans: Sequence[_Plan], pool: float) -> None:
        room = pool - sum(max(plan.has, plan.guest.resident) for plan in plans)
        # What a slow balloon still holds in a second from now is not coming: others are asked meanwhile.
        coming = sum(min(p.has - guest_target(p.guest), p.guest.group.inflate * MARGIN_S) for p in plans)
        shares = [plan.guest.group.shares for plan in plans]
        warms = [max(0, int(plan.warm)) for plan in plans]
        left_for_warm = max(0, int(pool - sum(plan.soon for plan in plans)))
        for plan, keeps in zip(plans, water_fill(left_for_warm, warms, shares), strict=True):
            plan.keeps_warm = keeps
        excess = max(0.0, sum(plan.now for plan in plans) - pool)
        if self.host.spec.overload == "guest-swap":
            excess = 0.0
        lacks = [max(0, int(plan.now - guest_target(plan.guest))) for plan in plans]
        # Who is given something gets enough for a while.
        more = [
            int(max(0.0, p.soon - max(p.now, p.has))) if lack else 0
            for p, lack in zip(plans, lacks, strict=True)
        ]
        warm = [
            int(max(0.0, p.soon + p.keeps_warm - max(p.soon, guest_target(p.guest)))) if p.warm else 0
            for p in plans
        ]
        warm = [one if one > STEP // 4 else 0 for one in warm]
        left = room
        first = water_fill(max(0, int(left + excess)), lacks, shares)
        left -= sum(first)
        second = water_fill(max(0, int(left)), more, shares)
        left -= sum(second)
        third = water_fill(max(0, int(left)), warm, shares)
        for plan, *gives in zip(plans, first, second, third, strict=True):
            if sum(gives) > 0:
                self._order(plan.guest, page_floor(int(guest_target(plan.guest)) + sum(gives)))
        missing = sum(lacks) + sum(more) - max(0.0, room) - coming
        if room < 0:
            missing -= room
        self._take(plans, missing, sum(warm))

    def _take(self, plans: Sequence[_Plan], missing: float, warm: float) -> None:
        """First from those who will never miss it, and most from few."""
        for level in range(4):
            wanted = missing + (warm if level < WARM_LEVELS else 0.0)
            for plan in sorted(plans, key=lambda plan: -plan.spare(level)):
                spare = plan.spare(level)
                if wanted <= 0 or spare < 1 * MIB:
                    break
                gone = min(spare, max(wanted, STEP))
                self._order(plan.guest, page_floor(int(guest_target(plan.guest) - gone)))
                wanted -= gone
                missing -= gone

    def _order(self, guest: Guest, size: int) -> None:
        if guest.rests or size != guest.target:
            self.moves += 1
            guest.order(size)
