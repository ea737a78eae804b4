"""What people ask of the running daemon: the verbs hold, unhold, set, room and explain.

An order is carried out at the next tick, which it calls for, and answered when that tick is done. What was asked for
goes into the snapshot (held, bounds, promised), so that the engine, a plan and a replay see it as they see all else.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from autoballoon.core.engine import Engine, State
from autoballoon.core.kept import EVERYONE
from autoballoon.core.model import Decision, Guest, Snapshot
from autoballoon.core.promise import Promise, made, promised, shortfall, used
from autoballoon.core.units import size_text
from autoballoon.daemon.adjusted import Adjusted
from autoballoon.daemon.history import History
from autoballoon.daemon.protocol import Args, Refused, Verb
from autoballoon.guests.hypervisor import Wake
from autoballoon.views.explain import OUTCOME

log = logging.getLogger("autoballoon")

MOST_PROMISES = 16
MOST_HOLDS = 10_000
LEAST_TIMEOUT_S, LONGEST_TIMEOUT_S = 0.1, 3600.0
LONGEST_NAME = 4096
LONGEST_SINCE_S = 1e9

Name = str


class GuestArgs(Args, frozen=True):
    """One guest, by name or key, or all."""

    guest: Name | None = None


class SetArgs(Args, frozen=True):
    """Bounds as they are written in the configuration."""

    guest: Name
    floor: str | None = None
    ceiling: str | None = None
    shares: int | None = None


class RoomArgs(Args, frozen=True):
    """Bytes, and seconds."""

    size: int
    name: Name | None = msgspec.field(name="for", default=None)
    timeout_s: float = 30.0


class ExplainArgs(Args, frozen=True):
    """One guest or all, and how far back."""

    guest: Name | None = None
    since_s: float | None = None


class _Order(msgspec.Struct):
    """What is to be done to the state at the next tick, and who waits for it."""

    change: Callable[[State], State]
    data: Callable[[Snapshot], object]
    done: asyncio.Future[object]


class Operator:
    """Takes orders between ticks; `carry_out` and `answer` are called by each tick, before and after the step."""

    def __init__(self, wake: Wake, history: History, is_dry: Callable[[], bool]) -> None:
        self._wake = wake
        self._history = history
        self._is_dry = is_dry
        self._state: State | None = None
        self._snapshot: Snapshot | None = None
        self._adjusted = Adjusted()
        self._orders: list[_Order] = []
        self._promises: dict[int, Promise] = {}
        self._waiting: dict[int, asyncio.Future[object]] = {}
        """Who waits for a promise to be made."""
        self._numbers = 0

    def verbs(self) -> Mapping[str, Verb]:
        """What is answered here."""
        return {
            "explain": Verb(ExplainArgs, self._explain),
            "hold": Verb(GuestArgs, self._hold),
            "unhold": Verb(GuestArgs, self._unhold),
            "set": Verb(SetArgs, self._set),
            "room": Verb(RoomArgs, self._room),
        }

    # A tick's part.

    def carry_out(self, state: State, snapshot: Snapshot, now: float) -> tuple[State, Snapshot]:
        """Before a step: the state that was asked for, and the snapshot with all that was asked for in it."""
        self._orders = [order for order in self._orders if not order.done.done()]
        for order in self._orders:
            state = order.change(state)
        for number in used([*self._promises.values()], state.tracks, snapshot.guests):
            self._end_used(number)
        guests = tuple(self._marked(guest, state) for guest in snapshot.guests)
        if any(new is not old for new, old in zip(guests, snapshot.guests, strict=True)):
            snapshot = msgspec.structs.replace(snapshot, guests=guests)
        return state, promised(snapshot, self._promises.values())

    def _marked(self, guest: Guest, state: State) -> Guest:
        guest = self._adjusted.applied(guest)
        return msgspec.structs.replace(guest, held=True) if state.is_held(guest.key) else guest

    def answer(self, state: State, snapshot: Snapshot, decisions: Sequence[Decision], now: float) -> None:
        """After a step: remember it, and answer those whose orders were carried out."""
        self._state, self._snapshot = state, snapshot
        self._history.add(decisions, now)
        orders, self._orders = self._orders, []
        for order in orders:
            if not order.done.done():
                order.done.set_result(order.data(snapshot))
        self._look_at_promises(state, snapshot, now)

    # The verbs.

    def _explain(self, args: ExplainArgs) -> object:
        if args.since_s is not None and not 0 <= args.since_s <= LONGEST_SINCE_S:
            raise Refused("bad-args", "explain: since_s must be a number of seconds from 0 to 1e9")
        told = self._history.tell(args.guest, args.since_s)
        if told is None:
            raise self._no_guest(args.guest or "")
        return msgspec.structs.replace(told, dry_run=self._is_dry())

    async def _hold(self, args: GuestArgs) -> object:
        key, name = self._one_or_all(args.guest)
        if self._state is not None and len(self._state.holds) >= MOST_HOLDS:
            raise Refused("too-many", f"{MOST_HOLDS} guests are held already; unhold some of them")
        self._history.order(name, f"hold {name or 'every guest'}")
        log.info("asked for: hold %s", name or "every guest")
        return await self._order(lambda state: Engine.hold(state, key), lambda seen: _holds(seen, key))

    async def _unhold(self, args: GuestArgs) -> object:
        key, name = self._one_or_all(args.guest)
        state = self._state
        taken_back = {
            guest.name: track.adopted
            for guest in (self._snapshot.guests if self._snapshot else ())
            if state is not None
            and key in (guest.key, EVERYONE)
            and (track := state.tracks.get(guest.key)) is not None
            and track.adopted is not None
        }
        self._history.order(name, f"unhold {name or 'every guest'}")
        log.info("asked for: unhold %s", name or "every guest")
        return await self._order(
            lambda state: Engine.unhold(state, key),
            lambda seen: _holds(seen, key) | {"ceilings_taken_back": taken_back},
        )

    async def _set(self, args: SetArgs) -> object:
        guest = self._guest(args.guest)
        given = {name: getattr(args, name) for name in ("floor", "ceiling", "shares")}
        given = {name: value for name, value in given.items() if value is not None}
        if not given:
            raise Refused("bad-args", "set: give floor, ceiling or shares")
        lines = self._adjusted.adjust(guest, given)
        words = " ".join(f"{name}={value}" for name, value in given.items())
        self._history.order(guest.name, f"set {guest.name} {words}")
        log.info("asked for: set %s %s", guest.name, words)

        def now_is(seen: Snapshot) -> object:
            one = next((one for one in seen.guests if one.key == guest.key), guest)
            bounds = {"floor": one.floor, "ceiling": one.top, "shares": one.shares}
            return {"guest": one.name, **bounds, "config": lines}

        return await self._order(lambda state: state, now_is)

    async def _room(self, args: RoomArgs) -> object:
        promise = self._promise(args)
        loop = asyncio.get_running_loop()
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

    def _promise(self, args: RoomArgs) -> Promise:
        if self._snapshot is None or self._state is None or self._state.account is None:
            raise Refused("not-yet", "the daemon has not finished its first tick; ask again in a second")
        most = self._state.account.capacity - self._state.account.reserve
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
        if any(guest.name == args.name for guest in self._snapshot.guests):
            raise Refused("runs", f"{args.name} is there already; room is made before a guest starts")
        if len(self._promises) >= MOST_PROMISES:
            raise Refused(
                "too-many", f"room is kept for {MOST_PROMISES} guests already; wait until some have started"
            )
        self._numbers += 1
        until = asyncio.get_running_loop().time() + args.timeout_s
        return Promise(self._numbers, args.size, args.name, until, keep_s=args.timeout_s)

    # Promises.

    def _look_at_promises(self, state: State, snapshot: Snapshot, now: float) -> None:
        if not self._promises or state.account is None:
            return
        there = made([*self._promises.values()], state.account)
        for promise in [*self._promises.values()]:
            if not promise.is_made and there[promise.id] >= promise.size:
                until = now + promise.keep_s
                self._promises[promise.id] = msgspec.structs.replace(promise, is_made=True, until=until)
                self._reply(promise.id, {"size": promise.size, "got": promise.size, "kept_s": promise.keep_s})
                self._history.order("", f"room {size_text(promise.size)}: it is there", OUTCOME)
            elif now >= promise.until and promise.is_made:
                self._end(promise.id, "nobody has used it, and it is kept no longer")
            elif now >= promise.until:
                self._refuse(promise, there[promise.id], state, snapshot)

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

    # Guests.

    async def _order(self, change: Callable[[State], State], data: Callable[[Snapshot], object]) -> object:
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._orders.append(_Order(change, data, done))
        self._wake("an order came")
        return await done

    def _one_or_all(self, name: str | None) -> tuple[str, str]:
        """The key and the name of the guest that is meant; EVERYONE and no name for all."""
        if name is None:
            return EVERYONE, ""
        if self._state is not None and name in self._state.holds and name != EVERYONE:
            return name, name  # its key; it need not be there
        guest = self._guest(name)
        return guest.key, guest.name

    def _guest(self, name: str) -> Guest:
        guests = self._snapshot.guests if self._snapshot is not None else ()
        for guest in guests:
            if name in (guest.name, guest.key):
                return guest
        raise self._no_guest(name)

    @staticmethod
    def _no_guest(name: str) -> Refused:
        return Refused("no-guest", f"there is no guest {name[:80]!r}; `autoballoon status` names them")


def _holds(snapshot: Snapshot, key: str) -> dict[str, Any]:
    """Which of the guests that were meant are held now."""
    meant = [guest for guest in snapshot.guests if key in (guest.key, EVERYONE)]
    return {
        "guests": [guest.name for guest in meant],
        "held": [guest.name for guest in meant if guest.held],
        "sizes": {guest.name: guest.actual for guest in meant},
    }
