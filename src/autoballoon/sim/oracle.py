"""Someone who knows the future: what nobody can do better, for comparison.

It sees each guest's memory as it is and what it will want over the time that moving takes, and sets targets ten
times a second. The balloon's speed and the pool bind it as they bind everybody: what it gives must be there.
"""

from collections.abc import Sequence

from autoballoon.core.share import water_fill
from autoballoon.core.units import MIB, page_floor
from autoballoon.sim.guest import KEPT_CACHE, Guest
from autoballoon.sim.host import Host
from autoballoon.sim.keeper import Keeper

EVERY_S = 0.1
MARGIN_S = 1.0
"""It begins so much earlier than the balloons alone would need."""
SPARE = 4 * MIB
"""Beyond what a guest will want: its zones' watermarks."""
DEAD_BAND = 2 * MIB


class Oracle(Keeper):
    """Gives each guest what it will want, the rest as warm cache, as cold cache, as surplus."""

    def begin(self, host: Host, guests: Sequence[Guest], now: float) -> None:
        self.host, self._next = host, now
        self._aims: dict[str, int] = {}
        self.step(guests, now)

    def step(self, guests: Sequence[Guest], now: float) -> None:
        if now < self._next:
            return
        self._next = now + EVERY_S
        host = self.host
        able = [guest for guest in guests if guest.driver and guest.running and guest.group.manage]
        horizon = MARGIN_S + self._moving_s(able, now)
        own = max(host.own, host.course.most(now, now + horizon))
        pool = host.ram - host.spec.reserve.of(host.ram) - own
        pool -= sum(max(guest.target, guest.actual) for guest in guests if guest not in able and guest.driver)
        pool -= sum(self._booting(guest, len(guests), pool) for guest in guests if not guest.driver)
        pool -= sum(guest.overhead(now + 60.0) for guest in guests)
        for guest, size in zip(able, self._sizes(able, now, horizon, int(pool)), strict=True):
            self._aims[guest.name] = page_floor(size)
        self._give(able, now)

    def _moving_s(self, guests: Sequence[Guest], now: float) -> float:
        """How long the largest rise within a minute takes to be freed by all others together and taken."""
        if not guests:
            return 0.0
        far = max((g.kernel + g.course.most(now, now + 20.0) - g.actual) for g in guests)
        if far <= 0:
            return 0.0
        speed = sum(guest.group.inflate for guest in guests) / 2
        return float(far / speed + far / min(guest.group.deflate for guest in guests))

    def _booting(self, guest: Guest, count: int, pool: float) -> float:
        """What is kept for one that boots: a target is set before its driver is up, as the daemon may."""
        wants = guest.kernel + guest.course.most(guest.born_at, guest.born_at + 60.0) + SPARE
        size = max(guest.group.floor.of(guest.max), min(wants, pool / count))
        if guest.target == guest.max:
            self._order(guest, page_floor(int(size)))
        return float(max(guest.target, guest.resident))

    def _sizes(self, guests: Sequence[Guest], now: float, horizon: float, pool: int) -> list[int]:
        """Where each guest is to go."""
        claims = []
        for guest in guests:
            group = guest.group
            begin = now if group.clock == "wall" else guest.work_s
            want = group.wants(guest, guest.course.most(begin, begin + horizon), now)
            floor = min(group.floor.of(guest.max), guest.max)
            top = max(floor, min(group.ceiling.of(guest.max), guest.max))
            need = guest.kernel + max(want, guest.want) + KEPT_CACHE + SPARE + guest.low
            steps = [floor, need, need + group.warm, need + group.files, top]
            claims.append([min(max(step, floor), top) for step in steps])
        sizes, left = [0] * len(guests), pool
        shares = [guest.group.shares for guest in guests]
        for rung in range(5):
            wanted = [int(claim[rung]) - size for claim, size in zip(claims, sizes, strict=True)]
            # Needs that exceed the pool are given all the same: the host's swap bears them.
            given = [max(0, one) for one in wanted] if rung < 2 else water_fill(left, wanted, shares)
            sizes = [size + more for size, more in zip(sizes, given, strict=True)]
            left = max(0, left - sum(given))
        return sizes

    def _give(self, guests: Sequence[Guest], now: float) -> None:
        """Shrink at once; grow as far as there is room, those first who are nearest to what they lack."""
        room = self.host.ram - self.host.spec.reserve.of(self.host.ram) - self.host.own
        room -= sum(max(g.actual, g.resident) + g.overhead(now) for g in guests)
        growers = []
        for guest in guests:
            aim = self._aims[guest.name]
            if aim < guest.actual - DEAD_BAND:
                self._order(guest, aim)
            elif aim > guest.target or guest.rests:
                growers.append(guest)
        lacks = [max(0, min(self._aims[g.name], int(g.used) + SPARE * 4) - int(g.actual)) for g in growers]
        wants = [max(0, self._aims[g.name] - int(g.actual)) for g in growers]
        shares = [g.group.shares for g in growers]
        first = lacks  # what they use now cannot wait for anybody
        rest = water_fill(int(room) - sum(first), [w - f for w, f in zip(wants, first, strict=True)], shares)
        for guest, one, two in zip(growers, first, rest, strict=True):
            size = page_floor(int(guest.actual) + one + two)
            if size > guest.target + DEAD_BAND or guest.rests:
                self._order(guest, size)

    def _order(self, guest: Guest, size: int) -> None:
        if guest.rests or size != guest.target:
            self.moves += 1
            guest.order(size)
