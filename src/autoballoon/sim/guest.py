"""One guest's life: its balloon, its memory and its file cache, and what missing memory costs it.

The cost model. Working at full speed a guest passes over everything that it wants once in `pass` seconds, and over its
warm files once in `warm_pass`. What is not in memory then has to be brought in first, at the speed of the device it
lies on. So a guest that lacks x bytes of a working set does not slow down by x, but by x / pass seconds of device
time for each second of work, and its progress is 1 / (1 + that): with a pass of 1 s and a disk of 200 MiB/s it
falls to a half when 200 MiB are missing, and to a sixth at 1 GiB. A moving balloon keeps one of the guest's processors
busy (INFLATE_COST, DEFLATE_COST). Lost time is time less progress.

What happens to a guest whose memory is too small, in this order, as in Linux: cold cache goes, then warm cache (it is
read again, from disk), but for what a kernel `hoards` that would rather swap; then programs go to swap of its own,
if it has any (they come back as they are touched); then
a driver with deflate-on-oom takes memory back by itself; where there is none, the kernel kills, and the guest does no
work for RESTART_S. What the host has swapped out of a guest is the host's affair (`host.py`) and costs in the same way.
"""

from autoballoon.core.units import GIB, MIB, page_floor
from autoballoon.sim.body import LACK, Body

BOOT_USE = 48 * MIB
"""What a guest has touched by the time its driver is up, beside what its kernel keeps."""
OOM_AFTER_S = 2.0
"""A guest that lacks memory for so long, and can take none, has something killed."""
RESTART_S = 10.0
"""What was killed is restarted, and does no work before that."""
OOM_RATE = 200 * MIB
"""Bytes a second that a driver takes back where the kernel would kill: 1 MiB at a time, each after a vain reclaim."""
BUSY = 0.5
"""Part of the time in which a balloon moves that it takes of one processor; so that guests of the lab's wave lose as
much by being moved as was measured (docs/reference/simulator.md)."""
INFLATE_COST = BUSY / (819 * MIB)
"""Seconds of one processor for a byte that the balloon takes: it moves 320 MiB in 0.4 s (guests under emulation)."""
DEFLATE_COST = BUSY * (1 / (1638 * MIB) + 1 / (2 * GIB))
"""... and that it gives back: 320 MiB in 0.2 s, and the host has to clear the page again when it is touched."""
RECLAIM_COST = 1e-3 / MIB
"""Seconds that its driver waits for a byte of cache to be dropped for it, as PSI counts them (17 MiB in 0.02 s, 12 MiB
in 0.01 s; guests of the lab's guest-side)."""


class Guest(Body):
    """A living guest."""

    # What is done to it.

    def order(self, target: int) -> None:
        """A new target: clamped as QEMU does; a driver that is not up yet will hear of it."""
        self.target = min(max(target, 0), self.max)
        self.rests = False

    def live(self, now: float, dt: float) -> None:
        """`dt` seconds until `now`, without what the host does; the host then calls `settle`."""
        self.grew = 0.0
        if not self.running:
            return
        self.group.acts(self, now)
        if not self.booted and not self._boot(now):
            return
        self._move_balloon(now, dt)
        if now - self.born_at >= self.group.boot + self.group.programs:
            self._program(now, dt)
            self._read_files(dt)
        self._touch()

    def settle(self, dt: float, waits_s: float) -> None:
        """End the step: `waits_s` is what it waits for the host in a second of work."""
        if not self.running or self.restarts:
            self.progress = 0.0
        else:
            stalls, moves = min(self.stall_s, dt), min(self.moved_s, dt)
            self.stall_s -= stalls
            self.moved_s -= moves
            self.progress = 1.0
            if self.booted and self.want > 0 and not self.rests_now:
                self.progress = (1 - stalls / dt) / (1 + self.waits + waits_s)
                self.stalled_s += self.waits * self.progress * dt
                self.progress *= 1 - moves / dt / self.group.cpus
        self.work_s += self.progress * dt
        self.lost_s += (1 - self.progress) * dt

    # Its own affairs.

    def _boot(self, now: float) -> bool:
        age = now - self.born_at
        self.booted = age >= self.group.boot
        touched = min(1.0, age / max(self.group.boot, 1e-9)) * (self.kernel + BOOT_USE)
        self.pages.boot(touched, self.kernel)
        return self.booted

    def _move_balloon(self, now: float, dt: float) -> None:
        group = self.group
        if not group.has_driver or not group.balloon_moves(self, now):
            return
        goal = group.heads_for(self, self.target, now)
        before = self.actual
        if self.actual < goal:
            self.actual = min(goal, self.actual + group.deflate * dt)
        elif self.actual > goal and not self.rests:
            holds = self.kernel + self.anon + self.kept
            out = min(self.anon, group.disk * dt, group.swap - self.own_swap) if group.swap else 0.0
            new = max(goal, self.actual - group.inflate * dt, min(holds - out, self.actual))
            # It may hold more than its size already, having lost memory faster than it could swap: no more goes then.
            push = min(holds - new, out)
            if push > 0:
                self._swap_out(push)
            self.actual = new
            dropped = self.cache.size - (self.actual - self.kernel - self.anon)
            self.stalled_s += min(max(0.0, dropped) * RECLAIM_COST, dt)
        moved = self.actual - before
        if moved:
            self.moved_s += moved * DEFLATE_COST if moved > 0 else -moved * INFLATE_COST

    def _swap_out(self, size: float) -> None:
        self.anon -= size
        self.own_swap += size
        self.swap_out += size

    def _program(self, now: float, dt: float) -> None:
        """Programs get what they want as far as there is room; what is not there costs time."""
        group = self.group
        need = self.course.at(now if group.clock == "wall" else self.work_s)
        want = group.wants(self, need, now)
        self.restarts = now < self.restarts_until
        if self.restarts:
            want = 0.0
        want = self.want = min(want, self.want + group.touch * dt)
        room = self.actual - self.kernel - self.kept
        has = self.anon + self.own_swap
        if has > want:
            part = want / has
            self.anon, self.own_swap = self.anon * part, self.own_swap * part
        elif has < want:
            self.anon += max(0.0, min(want - has, room - self.anon))
        if self.own_swap > 0 and not self.rests_now:
            # What is touched comes in; without room something else goes out for it.
            comes = min(self.own_swap, self.own_swap / group.pass_ * dt * self.progress, group.disk * dt)
            self.swap_in += comes
            self.faults += comes
            stays = max(0.0, min(comes, room - self.anon))
            self.own_swap -= stays
            self.anon += stays
            self.swap_out += comes - stays
        self.unmet = max(0.0, want - self.anon - self.own_swap)
        if self.unmet > 0:
            self._run_short(now, dt)
        self.rests_now = need <= group.rests_below
        missing = self.own_swap + self.unmet
        self.waits = missing / group.pass_ / group.disk if missing and not self.rests_now else 0.0

    def _run_short(self, now: float, dt: float) -> None:
        """Nothing of the cache is left to it: own swap, then the balloon, then a kill."""
        group = self.group
        if group.swap > self.own_swap:
            out = min(self.unmet, group.disk * dt, group.swap - self.own_swap, self.anon)
            self._swap_out(out)
            self.anon += out
            self.unmet -= out
        if self.unmet <= 0 or group.swap > self.own_swap:
            self.lacks_since = None
            return
        if group.deflates_itself and self._may_deflate(now):
            if self.actual < self.target:
                return  # more is on its way
            took = min(self.unmet, OOM_RATE * dt, self.max - self.actual)
            self.actual = float(min(self.max, page_floor(int(self.actual + took)) + 4096))
            self.anon += took
            self.unmet -= took
            self.moved_s += took * DEFLATE_COST
            self.rests = True
            return
        if self.lacks_since is None or self.unmet <= LACK:
            self.lacks_since = now
        if now - self.lacks_since > OOM_AFTER_S:
            self.oom_kills += 1
            self.lacks_since = None
            self.want = self.anon = self.unmet = self.own_swap = 0.0
            self.restarts_until = now + RESTART_S

    def _may_deflate(self, now: float) -> bool:
        group = self.group
        return self.actual < self.max and group.has_driver and group.balloon_moves(self, now)

    def _read_files(self, dt: float) -> None:
        room = self.actual - self.kernel - self.anon
        self.cache.fit(room)
        if not self.group.files:
            return
        if not self.rests_now:
            waits, read = self.cache.read_again(room, dt, self.progress)
            self.waits += waits
            self.refaults += read
            self.faults += read if self.group.maps else 0.0
        self.cache.read_on(room, dt)
