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
from autoballoon.daemon.adjusted import Adjusted
from autoballoon.daemon.history import History
from autoballoon.daemon.protocol import Args, Refused, Verb
from autoballoon.daemon.rooms import RoomArgs, Rooms
from autoballoon.guests.hypervisor import Wake

log = logging.getLogger("autoballoon")

MOST_HOLDS = 10_000
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
        self._rooms = Rooms(wake, history, is_dry)

    def verbs(self) -> Mapping[str, Verb]:
        """What is answered here."""
        return {
            "explain": Verb(ExplainArgs, self._explain),
            "hold": Verb(GuestArgs, self._hold),
            "unhold": Verb(GuestArgs, self._unhold),
            "set": Verb(SetArgs, self._set),
            "room": Verb(RoomArgs, self._rooms.make),
        }

    # A tick's part.

    def carry_out(self, state: State, snapshot: Snapshot, now: float) -> tuple[State, Snapshot]:
        """Before a step: the state that was asked for, and the snapshot with all that was asked for in it."""
        self._orders = [order for order in self._orders if not order.done.done()]
        for order in self._orders:
            state = order.change(state)
        guests = tuple(self._marked(guest, state) for guest in snapshot.guests)
        if any(new is not old for new, old in zip(guests, snapshot.guests, strict=True)):
            snapshot = msgspec.structs.replace(snapshot, guests=guests)
        return state, self._rooms.promised(state, snapshot)

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
        self._rooms.look(state, snapshot, now)

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
