"""`contain = true`: memory.high on each guest's own control group follows what the guest was granted.

Raised before a guest grows, lowered after it has shrunk. What was there before is another's: never exceeded, and put
back when we leave. So it is in the state file before we change it, and who comes after a daemon that died puts it back.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from autoballoon.core.errors import CouldNot
from autoballoon.core.facts import CONTAINMENT
from autoballoon.core.limit import keeps, limit_of, slack_of
from autoballoon.core.model import Guest
from autoballoon.core.track import Health, Track
from autoballoon.core.units import MIB, size_text
from autoballoon.daemon.config import Config
from autoballoon.daemon.keeper import Keeper
from autoballoon.daemon.statefile import Contained
from autoballoon.guests.hypervisor import Problem
from autoballoon.host.apart import Apart, apart
from autoballoon.host.guest_group import GuestGroup, GuestGroups, Unfit

log = logging.getLogger(__name__)

AGAIN_S = 10.0
"""A guest whose group cannot be used is looked at again after so long."""
LIFT_AGAIN_S = 60.0
"""A limit that could not be put back is tried again, and told of, after so long."""
MEET_MOST = 32
"""So many guests' groups are looked for in a tick: each takes some ten small files."""
LOWER_MIN = 16 * MIB
"""Less is not worth a change."""
MARGIN = 4 * MIB
"""A limit is set so far above what the group holds, at least, that the kernel need not reclaim."""
CUT_MOST = 256 * MIB
"""Cache of disk images that is over the limit is cut by so much at a time, which takes the kernel some 0.1 s."""
CUTS_MOST = 8
"""So many cuts at a time: each holds a thread until the kernel is done."""
RAISE_WAIT_S = 0.1
"""A raise waits for a cut of the same group that is under way, or would be undone by it: all in one tick so long."""
CLOSER_EVERY_S = 2.0
"""How often a group that is nearly full is looked at closely: memory.stat costs ten times what memory.current does."""


class _Held:
    """A guest whose group we have, and what its memory.high was when we last looked or set it."""

    def __init__(self, pid: int, group: GuestGroup, entry: Contained) -> None:
        self.pid = pid
        self.group = group
        self.entry = entry
        self.high = group.high()
        self.is_written = False
        """Its entry is in the state file."""
        self.goal: int | None = None
        """What its memory.high should be; it is that or more."""
        self.more = 0
        """What QEMU was seen to take beyond its overhead, bytes."""
        self.closer_at = -1e9
        self.cut: asyncio.Task[None] | None = None
        self.is_left = False
        """It is no longer ours; whoever cuts it just now closes its files."""


class Containment:
    """Every guest's limit; `root` is where /proc and /sys are found."""

    def __init__(self, keeper: Keeper, apart: Apart = apart, root: Path = Path("/")) -> None:
        self._keeper = keeper
        self._apart = apart
        self._groups = GuestGroups(root)
        self._root = root
        self._held: dict[str, _Held] = {}
        self._cuts: set[asyncio.Task[None]] = set()
        """Those under way, also of groups let go."""
        self._unfit: dict[str, tuple[int, float, str]] = {}
        """Guests with no group for us: the process, when to look again, and why."""
        self._over: dict[str, Problem] = {}
        self._failed: str | None = None
        self._lift_at = -1e9
        """What could not be put back is tried again then."""

    def problems(self) -> list[Problem]:
        """Guests that are not contained, and those that would take more than they were granted."""
        unfit = [
            Problem(key, f"{says}; it is not contained", CONTAINMENT)
            for key, (_, _, says) in self._unfit.items()
        ]
        failed = [] if self._failed is None else [Problem("contain", self._failed)]
        return [*failed, *unfit, *self._over.values()]

    async def follow(self, config: Config, guests: Iterable[Guest], tracks: Mapping[str, Track]) -> None:
        """Have each limit fit what its guest has been granted by now: to be called before it is told to grow."""
        now = asyncio.get_running_loop().time()
        if not config.contain or config.dry_run:
            if self._held or self._unfit or (self._keeper.saved.contained and now >= self._lift_at):
                with suppress(CouldNot):  # the file cannot be written: it is told the next time
                    await self.lift()
            return
        managed = {guest.key: guest for guest in guests if guest.managed and guest.pid is not None}
        self._unfit = {key: unfit for key, unfit in self._unfit.items() if key in managed}
        self._over = {key: problem for key, problem in self._over.items() if key in managed}
        for key, one in list(self._held.items()):
            is_there = self._look(one)
            if not is_there or key not in managed or managed[key].pid != one.pid:
                self._let_go(key)
        self._meet_all(managed.values(), tracks, config, now)
        await self._write_down()
        until = asyncio.get_running_loop().time() + RAISE_WAIT_S
        for key, one in list(self._held.items()):
            if one.is_written:
                await self._fit(one, managed[key], tracks[key], now, until)

    async def lift(self) -> list[str]:
        """Put back everywhere what was there before; a sentence for each. What fails stays in the state file."""
        entries = {entry.group: entry for entry in self._keeper.saved.contained}
        if self._cuts:
            await asyncio.wait(self._cuts, timeout=RAISE_WAIT_S)
        for one in self._held.values():
            if self._look(one):
                entries[one.entry.group] = one.entry
            self._leave(one)
        self._held, self._unfit, self._over, self._failed = {}, {}, {}, None
        self._lift_at = asyncio.get_running_loop().time() + LIFT_AGAIN_S
        boot, left, said = self._groups.boot(), [], []
        for entry in entries.values():
            try:
                said += self._put_back(entry, boot)
            except Unfit as error:
                log.error("the state file names what we never set: %s; it is left alone", error)
            except (OSError, CouldNot) as error:
                log.error("memory.high of %s is not as it was before: %s", entry.group, error)
                left.append(entry)
        await self._keeper.put(contained=tuple(left))
        return said

    def _put_back(self, entry: Contained, boot: str) -> list[str]:
        group = self._groups.at(entry.group) if entry.boot == boot else None
        if group is None:
            return []
        try:
            if group.inode != entry.inode:
                return []
            if group.high() not in (None, entry.before):
                group.set_high(entry.before)
        finally:
            group.close()
        return [f"memory.high of {entry.group} is {_text(entry.before)} again"]

    def _meet_all(
        self, guests: Iterable[Guest], tracks: Mapping[str, Track], config: Config, now: float
    ) -> None:
        """Find the groups of some of the guests that have none yet, and have not been looked at a moment ago."""
        spared = self._groups.of_capacity(config.capacity)
        met = 0
        for guest in guests:
            track = tracks[guest.key]
            if (
                guest.key not in self._held
                and track.health is Health.OK
                and limit_of(guest, track) is not None
            ):
                pid, again_at, _ = self._unfit.get(guest.key, (0, 0.0, ""))
                if (pid != guest.pid or now >= again_at) and met < MEET_MOST:
                    met += 1
                    self._meet(guest, spared, now)

    def _meet(self, guest: Guest, spared: Path | None, now: float) -> None:
        assert guest.pid is not None
        try:
            group = self._groups.find(guest.pid, spared)
            shown = "/" + str(group.path.relative_to(self._root))
            entry = Contained(shown, group.inode, self._groups.boot(), group.high())
            self._held[guest.key] = _Held(guest.pid, group, entry)
            self._unfit.pop(guest.key, None)
        except (Unfit, OSError, CouldNot) as error:
            self._unfit[guest.key] = (guest.pid, now + AGAIN_S, f"{guest.name}: {error}")

    def _look(self, one: _Held) -> bool:
        """Whether the group is still there. What another has set since is another's from now on."""
        if _is_cut(one):
            return True
        try:
            present = one.group.high()
        except CouldNot:
            return False
        if present != one.high:
            one.high = present
            one.entry = msgspec.structs.replace(one.entry, before=present)
        return True

    def _let_go(self, key: str) -> None:
        """The guest is gone, or another's now: put its group back, where it is still there."""
        one = self._held.pop(key)
        self._over.pop(key, None)
        self._leave(one)
        try:
            self._put_back(one.entry, one.entry.boot)
        except (Unfit, OSError, CouldNot) as error:
            log.debug("%s is left as it is: %s", one.entry.group, error)

    @staticmethod
    def _leave(one: _Held) -> None:
        """Let the group go; a cut that is still under way ends with what was there before us."""
        one.goal, one.is_left = one.entry.before, True
        if not _is_cut(one):
            one.group.close()

    async def _write_down(self) -> None:
        """Have all that we hold in the state file, as it was before us; who is not is not contained."""
        entries = tuple(sorted((one.entry for one in self._held.values()), key=lambda entry: entry.group))
        self._failed = None
        try:
            # Nobody else writes these: with nothing new, no tick waits for a disk that is slow with something else.
            if entries != self._keeper.saved.contained or self._keeper.is_late:
                await self._keeper.put(contained=entries)
        except CouldNot as error:
            self._failed = f"no further guest is contained: {error}"
            return
        for one in self._held.values():
            one.is_written = True

    async def _fit(self, one: _Held, guest: Guest, track: Track, now: float, until: float) -> None:
        try:
            await self._set(one, guest, track, now, until)
        except Unfit as error:
            self._refuse(one, guest, str(error), now)
        except (OSError, CouldNot) as error:
            self._refuse(one, guest, f"its memory.high cannot be set ({error}); run as root", now)

    def _refuse(self, one: _Held, guest: Guest, says: str, now: float) -> None:
        self._let_go(guest.key)
        self._unfit[guest.key] = (one.pid, now + AGAIN_S, f"{guest.name}: {says}")

    async def _set(self, one: _Held, guest: Guest, track: Track, now: float, until: float) -> None:
        """Raise or lower its limit; before `until` a raise waits for a cut that is under way."""
        current, held = one.group.current(), None
        slack = slack_of(guest)
        if one.high is not None and current > one.high - slack // 2 and now - one.closer_at >= CLOSER_EVERY_S:
            one.closer_at, held = now, one.group.held()
            if guest.resident is not None and keeps(guest, track):
                # It has taken no more than it may, and yet its group is nearly full: then QEMU itself needs more.
                one.more = max(0, held - guest.resident - (guest.overhead or 0))
        elif one.high is not None and current < one.high - slack:
            one.more = 0
        self._tell_over(one, guest, track, current)
        limit = limit_of(guest, track)
        one.goal = _least(None if limit is None else limit + one.more, one.entry.before)
        if one.goal == one.high:
            return
        if one.goal is None or (one.high is not None and one.goal > one.high):
            if one.cut is not None and not one.cut.done():
                patience_s = max(0.0, until - asyncio.get_running_loop().time())
                await asyncio.wait((one.cut,), timeout=patience_s)
            one.group.check(one.pid)
            one.high = one.group.set_high(one.goal)
        elif one.high is None or one.high - one.goal >= LOWER_MIN:
            self._lower(one, one.goal, current, held)

    def _lower(self, one: _Held, goal: int, current: int, held: int | None) -> None:
        """Lower it to `goal`, or as far as what the group holds allows."""
        if _is_cut(one):
            return
        low = max(goal, current + MARGIN)
        if one.high is None or one.high - low >= LOWER_MIN:
            one.group.check(one.pid)
            one.high = one.group.set_high(low)
            return
        low = max(goal, current - CUT_MOST)
        # What only swapping would free is waited for: a guest that gives slowly, or cannot, is not made to swap.
        if held is not None and held + MARGIN <= low and len(self._cuts) < CUTS_MOST:
            one.group.check(one.pid)
            one.cut = asyncio.create_task(self._cut(one, low))
            self._cuts.add(one.cut)
            one.cut.add_done_callback(self._cuts.discard)

    async def _cut(self, one: _Held, low: int) -> None:
        """Have the kernel drop cache, which takes a while; a guest that was granted more meanwhile has it again."""
        try:
            high = await self._apart(one.group.set_high, low)
            if one.goal is None or one.goal > low:
                high = one.group.set_high(one.goal)
            one.high = high
        except (OSError, CouldNot) as error:
            log.debug("%s: %s", one.entry.group, error)
        finally:
            if one.is_left:
                one.group.close()

    def _tell_over(self, one: _Held, guest: Guest, track: Track, current: int) -> None:
        if one.high is None or keeps(guest, track) or current < one.high - MARGIN:
            self._over.pop(guest.key, None)
            return
        says = f"{guest.name} takes more than it was granted, and is held at {size_text(one.high)} by memory.high"
        self._over[guest.key] = Problem(guest.key, says)


def _is_cut(one: _Held) -> bool:
    """Whether the kernel is still at it."""
    return one.cut is not None and not one.cut.done()


def _least(one: int | None, two: int | None) -> int | None:
    """The smaller; None is no limit."""
    return min((size for size in (one, two) if size is not None), default=None)


def _text(size: int | None) -> str:
    return "max" if size is None else size_text(size)
