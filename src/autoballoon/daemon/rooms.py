"""Room for guests about to start: asked for by the verb room, made by the engine, kept until it is used or given up."""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from autoballoon.core.engine import State
from autoballoon.core.model import Snapshot
from autoballoon.core.promise import Promise, made, promised, shortfall, used
from autoballoon.core.units import size_text
from autoballoon.daemon.history import History
from autoballoon.daemon.protocol import Args, Refused
from autoballoon.guests.hypervisor import Wake
from autoballoon.views.explain import OUTCOME

log = logging.getLogger("autoballoon")

MOST_PROMISES = 16
LEAST_TIMEOUT_S, LONGEST_TIMEOUT_S = 0.1, 3600.0
LONGEST_NAME = 4096


class RoomArgs(Args, frozen=True):
    """Bytes, and seconds."""

    size: int
    name: str | None = msgspec.field(name="for", default=None)
    timeout_s: float = 30.0


class Rooms:
    """Takes orders for room between ticks; `promised` and `look` are called by each tick, before and after the step."""

    def __init__(self, wake: Wake, history: History, is_dry: Callable[[], bool]) -> None:
        self._wake = wake
        self._history = history
        self._is_dry = is_dry
        self._seen: tuple[State, Snapshot] | None = None
        """By the last tick."""
        self._promises: dict[int, Promise] = {}
        self._waiting: dict[int, asyncio.Future[object]] = {}
        """Who waits for a promise to be made."""
        self._numbers = 0

    async def make(self, args: RoomArgs) -> object:
        """The verb `room`: make room and keep it; answered when it is there, or cannot be had in time."""
        promise = self._promise(args)
        loop = asyncio.get_running_loop()
        self._replace(promise)
        self._promises[promise.id] = promise
        done: asyncio.Future[object] = loop.create_future()
        self._waiting[promise.id] = done
        what = f"room {size_text(promise.size)}{f' for {promise.name}' if promise.name else ''}"
        self._history.order("", what)
        log.info("asked for: %s", what)
        self._wake("room was asked for")
        timer = loop.call_at(promise.until, self._wake, "room was wanted by now")
        try:
            return await done
        finally:
            timer.cancel()
            if self._waiting.pop(promise.id, None) is not None and done.cancelled():
                self._end(promise.id, "given up: whoever asked for it is gone")
                self._wake("room is wanted no more")

    def promised(self, state: State, snapshot: Snapshot) -> Snapshot:
        """Before a step: the snapshot with what is promised in it; a promise whose guest has come is one no more."""
        for number in used([*self._promises.values()], state.tracks, snapshot.guests):
            self._end_used(number)
        return promised(snapshot, self._promises.values())

    def look(self, state: State, snapshot: Snapshot, now: float) -> None:
        """After a step: answer who waits for room that is there now, or will not be in time."""
        self._seen = state, snapshot
        if not self._promises or state.account is None:
            return
        there = made([*self._promises.values()], state.account)
        for promise in [*self._promises.values()]:
            if not promise.is_made and there[promise.id] >= promise.size:
                self._promises[promise.id] = promise.kept_from(now)
                self._reply(promise.id, {"size": promise.size, "got": promise.size, "kept_s": promise.keep_s})
                self._history.order("", f"room {size_text(promise.size)}: it is there", OUTCOME)
            elif now >= promise.until and promise.is_made:
                self._end(promise.id, "nobody has used it, and it is kept no longer")
            elif now >= promise.until:
                self._refuse(promise, there[promise.id], state, snapshot)

    def _promise(self, args: RoomArgs) -> Promise:
        if self._seen is None or self._seen[0].account is None:
            raise Refused("not-yet", "the daemon has not finished its first tick; ask again in a second")
        account, snapshot = self._seen[0].account, self._seen[1]
        most = account.capacity - account.reserve
        if not 0 < args.size <= most:
            raise Refused(
                "bad-args",
                f"room: size must be more than nothing and at most {size_text(most)}, what guests may have",
            )
        if not LEAST_TIMEOUT_S <= args.timeout_s <= LONGEST_TIMEOUT_S:
            raise Refused("bad-args", "room: timeout_s must lie between 0.1 and 3600 seconds")
        if args.name is not None and not (0 < len(args.name) <= LONGEST_NAME and args.name.isprintable()):
            raise Refused("bad-args", "room: for must be the name of a guest")
        if self._is_dry():
            raise Refused("dry-run", "DRY RUN: nothing is moved, so no room is made; switch dry_run off")
        if any(guest.name == args.name for guest in snapshot.guests):
            raise Refused("runs", f"{args.name} is there already; room is made before a guest starts")
        if len(self._promises) >= MOST_PROMISES:
            raise Refused(
                "too-many", f"room is kept for {MOST_PROMISES} guests already; wait until some have started"
            )
        self._numbers += 1
        until = asyncio.get_running_loop().time() + args.timeout_s
        return Promise(self._numbers, args.size, args.name, until, keep_s=args.timeout_s)

    def _replace(self, promise: Promise) -> None:
        """What is kept for the same guest is kept no more: it may be asked for by hand, and then by libvirt's hook."""
        for older in [*self._promises.values()]:
            if older.is_made and older.name is not None and older.name == promise.name:
                self._end(older.id, "asked for again")

    def _refuse(self, promise: Promise, got: int, state: State, snapshot: Snapshot) -> None:
        assert state.account is not None
        wishes = state.wishes.wishes if state.wishes is not None else {}
        why = shortfall(snapshot, state.tracks, wishes, state.account, promise.size - got)
        says = f"only {size_text(got)} of {size_text(promise.size)} within {promise.keep_s:g} s: {why}"
        self._end(promise.id, says)
        waiting = self._waiting.pop(promise.id, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(Refused("no-room", says))

    def _end_used(self, number: int) -> None:
        """A guest has come for it."""
        promise = self._promises[number]
        self._end(number, "its guest has come")
        self._reply(
            number, {"size": promise.size, "got": promise.size if promise.is_made else 0, "kept_s": 0.0}
        )

    def _end(self, number: int, why: str) -> None:
        promise = self._promises.pop(number, None)
        if promise is not None:
            self._history.order("", f"room {size_text(promise.size)}: {why}", OUTCOME)
            log.info("room %s: %s", size_text(promise.size), why)

    def _reply(self, number: int, data: object) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(data)
