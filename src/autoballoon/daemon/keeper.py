"""The state file kept up to date: guests that we stop at once, all else soon and without holding up a tick."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from autoballoon.core.engine import Engine, State
from autoballoon.core.errors import CouldNot
from autoballoon.core.kept import Kept, KeptGuest
from autoballoon.daemon.statefile import Saved, SavedGuest, StateFile
from autoballoon.host.apart import Apart, apart

log = logging.getLogger(__name__)

Identity = Callable[[int], str | None]
"""(pid) -> which process that is, or None when it is gone."""

WRITE_S = 2.0
"""For the disk to take the file. A tick may wait for that, and with it all guests: one that hangs has the write go on
without us, and until it comes back nothing else is written, and nobody is stopped or contained anew."""
SAVE_EVERY_S = 1.0
"""What is not urgent is saved at most so often."""
AGAIN_S = 30.0
"""After the disk has refused, it is tried again."""
FORGET_EVERY_S = 10.0
"""How often those out of sight are looked after: whether their process still lives."""
FADING_S, FADING = 60.0, 1 / 16
"""A size that a guest fought at is learnt anew with every bad reading: written again after this time, or when it has
changed by this part."""


class Keeper:
    """The only one who writes the file."""

    def __init__(self, file: StateFile, apart: Apart = apart) -> None:
        self.saved = Saved()
        """What is in the file."""
        self._file = file
        self._apart = apart
        self._turn = asyncio.Lock()
        self._write: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._not_before = -1e9
        self._forget_at = -1e9
        self._failed = False

    async def load(self, identity: Identity) -> Kept:
        """What an earlier daemon kept; of guests whose process is gone nothing, but for their holds."""
        self.saved = await self._apart(self._file.load)
        saved = self.saved
        stopped = tuple(one for one in saved.stopped if identity(one.pid) == one.process)
        guests = tuple(one for one in saved.guests if identity(one.pid) == one.process)
        try:
            await self.put(stopped=stopped, guests=guests)
        except CouldNot as error:
            log.warning("%s", error)
        return Kept(
            guests={
                one.key: KeptGuest(one.pid, one.ceiling, one.learnt, one.learnt_at, one.asked)
                for one in guests
            },
            holds=frozenset(saved.holds),
            suspended={one.key: one.pid for one in stopped},
        )

    async def put(self, **fields: Any) -> None:
        """Have these fields of Saved in the file, on the disk when it returns.

        CouldNot when that fails, or takes longer than WRITE_S: they may be there later, and `saved` tells so then.
        """
        async with self._turn:
            saved = msgspec.structs.replace(self.saved, **fields)
            if not self._is_writing:
                if saved == self.saved:
                    return
                self._write = asyncio.create_task(self._save_all(saved))
                self._write.add_done_callback(lambda done: done.cancelled() or done.exception())
                await asyncio.wait((self._write,), timeout=WRITE_S)
            if self._is_writing:
                raise CouldNot(f"the state file {self._file.path} is not written: its disk hangs, or is busy")
            assert self._write is not None
            self._write.result()

    async def _save_all(self, saved: Saved) -> None:
        await self._apart(self._file.save, saved)
        self.saved = saved

    @property
    def _is_writing(self) -> bool:
        return self._write is not None and not self._write.done()

    @property
    def is_late(self) -> bool:
        """A write is under way that nobody waits for any more: the file may become another than `saved`."""
        return self._is_writing and not self._turn.locked()

    def look(self, engine: Engine, state: State, identity: Identity, now: float) -> State:
        """Begin to save what is worth keeping, if that is due; the state to go on with, without those who ended."""
        if state.unseen and now >= self._forget_at:
            self._forget_at = now + FORGET_EVERY_S
            processes = {(one.key, one.pid): one.process for one in self.saved.guests}
            ended = {
                key
                for key, kept in state.unseen.items()
                if (process := identity(kept.pid)) is None
                or process != processes.get((key, kept.pid), process)
            }
            if ended:
                state = engine.forget(state, ended)
        if now >= self._not_before and (self._task is None or self._task.done()):
            self._not_before = now + SAVE_EVERY_S
            kept = engine.kept(state)
            guests = self._entries(kept.guests, identity)
            holds = tuple(sorted(kept.holds))
            if guests != self.saved.guests or holds != self.saved.holds:
                self._task = asyncio.create_task(self._save(guests, holds, now))
        return state

    async def close(self, engine: Engine, state: State, identity: Identity) -> None:
        """Save what is worth keeping now. CouldNot when that fails."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        kept = engine.kept(state)
        await self.put(guests=self._entries(kept.guests, identity), holds=tuple(sorted(kept.holds)))

    def _entries(self, kept: Mapping[str, KeptGuest], identity: Identity) -> tuple[SavedGuest, ...]:
        known = {(one.key, one.pid): one for one in self.saved.guests}
        return tuple(_entries(kept, known, identity))

    async def _save(self, guests: tuple[SavedGuest, ...], holds: tuple[str, ...], now: float) -> None:
        try:
            await self.put(guests=guests, holds=holds)
        except CouldNot as error:
            self._not_before = now + AGAIN_S
            if not self._failed:
                log.error("holds and sizes that others set would not outlive this daemon: %s", error)
            self._failed = True
        else:
            self._failed = False


def _entries(
    kept: Mapping[str, KeptGuest], known: Mapping[tuple[str, int], SavedGuest], identity: Identity
) -> Iterable[SavedGuest]:
    """One for each guest; the one that is `known` where nothing that matters has changed."""
    for key in sorted(kept):
        one = kept[key]
        before = known.get((key, one.pid))
        process = before.process if before is not None else identity(one.pid)
        if process is not None:
            entry = SavedGuest(key, process, one.pid, one.ceiling, one.learnt, one.learnt_at, one.asked)
            yield before if before is not None and _is_alike(before, entry) else entry


def _is_alike(before: SavedGuest, after: SavedGuest) -> bool:
    return (
        (before.ceiling, before.asked) == (after.ceiling, after.asked)
        and abs(before.learnt - after.learnt) <= before.learnt * FADING
        and after.learnt_at - before.learnt_at < FADING_S
    )
