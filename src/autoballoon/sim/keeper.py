"""The daemon on virtual time: ticks, early ticks, questions between them, the watch on free memory.

The rules are those of daemon/loop.py and daemon/pulse.py, whose constants are used. A tick takes no time here.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from autoballoon.core.calm import calm
from autoballoon.core.engine import Engine, Rules, State
from autoballoon.core.invariants import hold_back, violations
from autoballoon.core.kept import Kept
from autoballoon.core.model import Decision, Resume, SetTarget, Snapshot, Stay, Suspend
from autoballoon.core.policy import Policy
from autoballoon.core.promise import Promise, made, promised, used
from autoballoon.daemon.falling import LOOK_EVERY_S, FreeWatch
from autoballoon.daemon.pulse import LEAST_GAP_S
from autoballoon.daemon.watches import ASK_EVERY_S, asks_at_once
from autoballoon.sim.guest import Guest
from autoballoon.sim.host import Host
from autoballoon.sim.session import EARLY, Session

Told = Callable[[State, Snapshot, State, Sequence[Decision], float], None]
"""Called at each tick with the state before, the snapshot, the state after, the decisions and the time."""


class Keeper:
    """Something that moves guests' memory; this one moves none."""

    moves = 0
    """Targets set, guests stopped or resumed."""
    broken: tuple[str, ...] = ()
    """Invariants that a step broke, a sentence for each time."""

    def begin(self, host: Host, guests: Sequence[Guest], now: float) -> None:
        """Before the first step."""

    def step(self, guests: Sequence[Guest], now: float) -> None:
        """After the world has lived until `now`; `guests` are those that are there."""


class Daemon(Keeper):
    """Steps the real engine as the daemon does."""

    def __init__(self, rules: Rules, policy: Policy, *, checked: bool = True) -> None:
        """`checked`: a move that would break an invariant is held back, as in the daemon; it is counted always."""
        self.engine = Engine(rules, policy)
        self.told: list[Told] = []
        self._checked = checked
        self.state: State = self.engine.start()
        self.ticks = self.moves = self.asks = 0
        self.awake = True
        self._sessions: dict[str, Session] = {}
        self._numbers = 0
        self._free = FreeWatch()
        self._due = self._quiet_until = 0.0
        self._ask_at, self._free_at = ASK_EVERY_S, LOOK_EVERY_S
        self._asked_at: dict[str, float] = {}
        self._early: str | None = None
        self._kept = Kept()
        self._promises: list[Promise] = []
        self._numbers_of_promises = 0

    def begin(self, host: Host, guests: Sequence[Guest], now: float) -> None:
        self.host = host
        self._meet(guests, now)
        self._due = now
        self._tick(now)

    def step(self, guests: Sequence[Guest], now: float) -> None:
        self._meet(guests, now)
        for session in self._sessions.values():
            session.step(now)
            if session.early is not None:
                if not session.freed or self.engine.lacks_room(self.state):
                    self._early = self._early or session.early
                session.early, session.freed = None, False
        if not self.awake:
            return
        if now + EARLY >= self._free_at:
            self._free_at = max(self._free_at + LOOK_EVERY_S, now)
            self._look_at_free(now)
        if now + EARLY >= self._ask_at:
            looks = 1 + int((now + EARLY - self._ask_at) / ASK_EVERY_S)
            self._ask_at += ASK_EVERY_S * looks
            self._look_at_edges(now, asks_at_once(len(self._sessions)) * looks)
        if now + EARLY >= self._due or (self._early is not None and now + EARLY >= self._quiet_until):
            self._tick(now)

    # What is asked of it; see daemon/operator.py and daemon/rooms.py.

    def hold(self, key: str) -> None:
        """Make the guest no smaller."""
        self.state = Engine.hold(self.state, key)

    def unhold(self, key: str) -> None:
        """Balance it again."""
        self.state = Engine.unhold(self.state, key)

    def room(self, size: int, name: str | None, timeout_s: float, now: float) -> None:
        """Make room for a guest to come, and keep it."""
        self._numbers_of_promises += 1
        self._promises.append(Promise(self._numbers_of_promises, size, name, now + timeout_s, timeout_s))
        self._early = self._early or "room was asked for"

    def _asked_for(self, seen: Snapshot) -> Snapshot:
        gone = used(self._promises, self.state.tracks, seen.guests)
        self._promises = [promise for promise in self._promises if promise.id not in gone]
        if self.state.holds:
            held = (msgspec.structs.replace(g, held=self.state.is_held(g.key)) for g in seen.guests)
            seen = msgspec.structs.replace(seen, guests=tuple(held))
        return promised(seen, self._promises)

    def _look_at_promises(self, now: float) -> None:
        if not self._promises or self.state.account is None:
            return
        there = made(self._promises, self.state.account)
        for n, promise in enumerate(self._promises):
            if not promise.is_made and there[promise.id] >= promise.size:
                self._promises[n] = promise.kept_from(now)
        self._promises = [promise for promise in self._promises if now < promise.until]

    # A daemon's life.

    def leave(self, now: float) -> None:
        """It ends in order."""
        decisions = self.engine.farewell(self.state, self.snapshot(now), now)
        self._act(decisions, now)
        self._end(msgspec.structs.replace(Engine.kept(self.state), suspended={}))

    def crash(self) -> None:
        """It is gone at once."""
        self._end(Engine.kept(self.state))

    def _end(self, kept: Kept) -> None:
        self._kept, self._promises, self.awake = kept, [], False

    def start(self, now: float) -> None:
        """It begins anew, with what an earlier one kept."""
        self.state, self.awake, self._due = self.engine.start(self._kept), True, now
        self._ask_at, self._free_at = now + ASK_EVERY_S, now + LOOK_EVERY_S
        self._free = FreeWatch()

    def snapshot(self, now: float) -> Snapshot:
        """What sensing sees now."""
        return Snapshot(
            host=self.host.seen(), guests=tuple(session.shown(now) for session in self._sessions.values())
        )

    @property
    def sessions(self) -> Mapping[str, Session]:
        """What is known of each guest that is there, by key."""
        return self._sessions

    def _meet(self, guests: Sequence[Guest], now: float) -> None:
        if len(guests) == len(self._sessions) and all(guest.name in self._sessions for guest in guests):
            return
        old, self._sessions = self._sessions, {}
        for guest in guests:
            session = old.get(guest.name)
            if session is None:
                session = Session(guest, self._numbers, now)
                self._numbers += 1
            self._sessions[guest.name] = session

    def _tick(self, now: float) -> None:
        if now + EARLY >= self._due:
            interval = self.engine.rules.interval_s
            self._due += interval * (1 + (now + EARLY - self._due) // interval)
        snapshot = self._asked_for(self.snapshot(now))
        before = self.state
        after, decided = self.engine.step(before, snapshot, now)
        found = violations(self.engine, before, snapshot, after, decided, now)
        self.broken += tuple(f"{one.invariant} at {now:.1f} s: {one.says}" for one in found)
        self.state, decisions = after, decided
        if self._checked:
            self.state, decisions = hold_back(found, before, snapshot, after, decided, now)
        self._free.ticked(snapshot.host.available)
        relaxed = frozenset(calm(self.state, now, wary=self.engine.policy.watch.wary))
        for key, session in self._sessions.items():
            session.relax(key in relaxed, now)
        for tell in self.told:
            tell(before, snapshot, self.state, decisions, now)
        self._act(decisions, now)
        self._look_at_promises(now)
        self.ticks += 1
        self._early = None
        self._quiet_until = now + LEAST_GAP_S  # the daemon's prompt ticks are not simulated: it is no slower

    def _act(self, decisions: Sequence[Decision], now: float) -> None:
        for decision in decisions:
            session = self._sessions.get(decision.key)
            if session is None or isinstance(decision, Stay):
                continue
            self.moves += 1
            match decision:
                case SetTarget(size=size):
                    session.order(size, now)
                case Suspend():
                    session.guest.running = False
                case Resume():
                    session.guest.running = True

    def _look_at_free(self, now: float) -> None:
        if self.state.account is None:
            return
        free = max(0, int(self.host.free))
        if self._free.is_urgent(now, free, self.state.account.reserve, self._due):
            self._early = self._early or "free memory falls towards the reserve"

    def _look_at_edges(self, now: float, most: int) -> None:
        suspects = [key for key in self.engine.suspects(self.state, now) if key in self._sessions]
        curious = self.engine.curious(self.state, now) & self._sessions.keys()
        wanted = curious | {key for key in suspects if self._sessions[key].guest.is_busy()}
        longest = sorted(wanted, key=lambda key: (key not in curious, self._asked_at.get(key, 0.0), key))
        for key in longest[:most]:
            self._asked_at[key] = now
            session = self._sessions[key]
            self.asks += 1
            session.ask(now)
            if self.engine.near_edge(self.state, session.shown(now), now):
                self._early = self._early or f"{session.guest.name} nears its edge"
