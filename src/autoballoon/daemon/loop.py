"""The daemon: sense, decide, act, tell; once an interval, and early when something happens.

All waiting is done with the event loop's own clock, so that the tests run it on virtual time.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path

from autoballoon import __version__
from autoballoon.core.calm import calm
from autoballoon.core.engine import State
from autoballoon.core.errors import BadInput, CouldNot, in_a_sentence
from autoballoon.core.model import Decision, Host, Resume, SetTarget, Snapshot, Stay
from autoballoon.core.units import size_text
from autoballoon.daemon.act import ACT_PATIENCE_S, Hands
from autoballoon.daemon.bulletin import Bulletin
from autoballoon.daemon.checked import CheckedSteps
from autoballoon.daemon.chronicle import Chronicle
from autoballoon.daemon.config import Config
from autoballoon.daemon.containment import Containment
from autoballoon.daemon.control import ControlServer
from autoballoon.daemon.history import History
from autoballoon.daemon.holes import Holes
from autoballoon.daemon.keeper import Keeper
from autoballoon.daemon.lock import ControlSocket
from autoballoon.daemon.operator import Operator
from autoballoon.daemon.parting import left_alone, left_small
from autoballoon.daemon.parts import Parts, assemble
from autoballoon.daemon.pulse import Beat, Pulse
from autoballoon.daemon.statefile import StateFile, state_path
from autoballoon.daemon.stops import Stops
from autoballoon.daemon.systemd import Manager, Watchdog
from autoballoon.daemon.watches import Watches
from autoballoon.guests.hypervisor import Problem, Wake
from autoballoon.host.apart import Apart, apart
from autoballoon.host.huge import Splits
from autoballoon.views.status import Tick

log = logging.getLogger("autoballoon")

MOST_FAILURES = 10
"""Failed ticks in a row, after which holding on is worse than telling the service manager."""
LAST_TICK_S, LIFT_S, FAREWELL_S, KEEP_S, CLOSE_S = 0.4, 0.3, 1.9, 0.4, 1.2
"""Bounds for leaving, one after the other: a tick or a reload under way, limits on guests lifted, guests resumed and
memory handed back, the state file written, hypervisors closed. With the log's they are 4.7 s of the 5."""
RESUME_S, HAND_BACK_S = 0.8, 0.8
"""Of the farewell, how long guests may take to say that they have their orders, which are on their way at once."""
DRY_RUN_SAYS = (
    "nothing is moved; balloon statistics, without which nothing is seen, are switched on while this runs and off "
    "again at its end in guests where they were off"
)

Assemble = Callable[[Config, Wake, Parts | None], Parts]


class Daemon:
    """One daemon's life: `run` returns after `stop`, or raises when it cannot go on."""

    def __init__(
        self,
        load: Callable[[], Config],
        assemble: Assemble = assemble,
        apart: Apart = apart,
        root: Path = Path("/"),
        *,
        asks: bool = True,
    ) -> None:
        """`asks`: guests near their edge are asked for statistics between ticks."""
        self._load = load
        self._assemble = assemble
        self._parts = assemble(load(), self.wake, None)
        self._state: State = self._parts.engine.start()
        history = History(lambda: asyncio.get_running_loop().time())
        self._operator = Operator(self.wake, history, lambda: self._parts.config.dry_run)
        self._hands = Hands()
        state = state_path(self._parts.config.socket, os.environ)
        self._keeper = Keeper(StateFile(state), apart)
        self._stops = Stops(self._keeper)
        self._containment = Containment(self._keeper, apart, root)
        self._manager = Manager(os.environ)
        self._watchdog = Watchdog(self._manager)
        self._chronicle = Chronicle()
        self._bulletin = Bulletin(self._manager, self._chronicle, self._containment.problems)
        self._holes = Holes(self._split_holed, lambda: asyncio.get_running_loop().time())
        self._watches = Watches(self.wake, lambda: (self._parts, self._state), asks=asks)
        self._steps = CheckedSteps()
        self._stopping = asyncio.Event()
        self._reload_asked = False
        self._refused: list[Problem] = []
        """That the last reload was refused, until one is not."""
        self._pulse = Pulse()
        self._is_ready = False
        self._ticks = 0
        self._failures = 0

    def wake(self, why: str, *, freed: bool = False) -> None:
        """Have a tick as soon as the least gap allows; `why` is told in the status; sooner when memory
        came back that somebody lacks. Wake in guests/hypervisor.py."""
        if freed and not self._parts.engine.lacks_room(self._state):
            return
        self._pulse.wake(why, prompt=freed)

    def stop(self) -> None:
        """Hand back memory and leave, within 5 s."""
        self._stopping.set()
        self._pulse.hurry("stop")

    def reload(self) -> None:
        """Read the configuration again before the next tick; a bad one is refused whole."""
        self._reload_asked = True
        self.wake("reload")

    async def run(self) -> None:
        """Balance until `stop`. CouldNot when another daemon holds the socket or ticks keep failing."""
        control = ControlSocket(Path(self._parts.config.socket))
        server = ControlServer(self._bulletin.board, self._operator.verbs())
        self._bulletin.started = asyncio.get_running_loop().time()
        try:
            await server.start(control.listener)
            self._bulletin.metrics.begin(self._parts.config.metrics)
            await self._until_stopped(self._balance())
        finally:
            self._manager.stopping()
            self._watches.close()
            await self._leave()
            await server.close()
            control.close()
            self._bulletin.metrics.close()
            self._watchdog.close()
            self._manager.close()

    async def _balance(self) -> None:
        kept = await self._keeper.load(self._parts.processes.identity)
        self._state = self._parts.engine.start(kept)
        self._stops.inherit()
        await self._lift()  # where a daemon that died left its limits
        await self._parts.start(self.wake, pressed=self._watches.pressed)
        log.info(self._introduction())
        self._watches.start()
        self._watchdog.start()
        await self._tick_until_stopped()

    async def _until_stopped(self, work: Coroutine[None, None, None]) -> None:
        """Do `work`; told to stop, it has LAST_TICK_S to come to its end."""
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            done, _ = await asyncio.wait((task,), timeout=LAST_TICK_S)
            for ended in done:
                ended.result()
        finally:
            task.cancel()
            stop.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    def _introduction(self) -> str:
        config = self._parts.config
        try:
            host = f"a host of {size_text(self._parts.host.read().capacity)}"
        except CouldNot as error:  # it is for the ticks to fail, and for ten of them to end us
            host = f"a host that cannot be read now ({error})"
        dry = f"DRY RUN: {DRY_RUN_SAYS}; " if config.dry_run else ""
        where = ", ".join((*config.libvirt, *config.qmp)) or "no socket at all"
        return (
            f"{dry}autoballoon {__version__}: {host}, guests at {where}; "
            f"policy {config.policy}, reserve {config.reserve}"
        )

    async def _tick_until_stopped(self) -> None:
        self._pulse.begin()
        while not self._stopping.is_set():
            why = await self._pulse.wait()
            if self._stopping.is_set():
                return
            if self._reload_asked:
                await self._reload()
            beat = self._pulse.beat(why, self._parts.config.interval_s)
            self._watches.next_tick = self._pulse.due
            await self._tick(beat)
            self._watchdog.ticked(self._parts.config.interval_s)
            if not self._is_ready and self._failures:
                self._manager.starting(2 * self._parts.config.interval_s)
            elif not self._is_ready:
                self._is_ready = True
                self._manager.ready()  # from now on `status` has an answer

    async def _tick(self, beat: Beat) -> None:
        self._ticks += 1
        try:
            seen = await self._parts.senses.snapshot()
            now = asyncio.get_running_loop().time()
            self._state, snapshot = self._operator.carry_out(self._state, seen, now)
            decisions = await self._decide_and_act(snapshot, now)
            self._report(beat, snapshot, decisions, now)
        except Exception as error:
            self._failures += 1
            self._bulletin.metrics.failed()
            log.error("this tick failed and everything stays as it is: %s", in_a_sentence(error))
            log.debug("where it failed", exc_info=True)
            if self._failures >= MOST_FAILURES:
                raise CouldNot(
                    f"{MOST_FAILURES} ticks in a row failed, the last with: {in_a_sentence(error)}; "
                    "--log-level debug tells where"
                ) from error
            return
        self._failures = 0

    def _report(self, beat: Beat, snapshot: Snapshot, decisions: Sequence[Decision], now: float) -> None:
        """Tell of this tick whoever asks, and whoever waits for it."""
        ended = asyncio.get_running_loop().time()
        tick = Tick(self._ticks, beat.why, round(beat.late_s, 6), round(ended - beat.begun, 6), now)
        lateness, logged = self._pulse.punctuality.lately(), [*self._steps.problems(), *self._refused]
        self._bulletin.tell(self._parts, self._state, snapshot, decisions, tick, lateness, logged, ended)
        self._operator.answer(self._state, snapshot, decisions, now)

    async def _decide_and_act(self, snapshot: Snapshot, now: float) -> Sequence[Decision]:
        engine, identity = self._parts.engine, self._parts.processes.identity
        reminded = self._stops.remind(engine, self._state, now)
        state = engine.learnt(reminded, self._hands.became(), now)
        self._state, decided = self._steps.step(engine, state, snapshot, now)
        self._watches.ticked(snapshot.host.available)
        self._parts.senses.relax(calm(self._state, now, wary=engine.policy.watch.wary))
        decisions: Sequence[Decision] = decided
        if self._parts.config.dry_run:
            with suppress(CouldNot):  # it is tried again at the next tick
                await self._stops.cross_out(snapshot.guests, self._state)
        else:
            self._state, decisions = await self._stops.keep(engine, self._state, decided, identity, now)
        self._state = self._keeper.look(engine, self._state, identity, now)
        self._chronicle.healths(snapshot.guests, self._state.tracks, now)
        await self._containment.follow(self._parts.config, snapshot.guests, self._state.tracks)
        await self._act(decisions, ACT_PATIENCE_S)
        if not self._parts.config.dry_run:
            self._holes.look(guest for guest in snapshot.guests if guest.managed)
        return decisions

    async def _act(self, decisions: Sequence[Decision], patience_s: float) -> None:
        moves = [decision for decision in decisions if not isinstance(decision, Stay)]
        if self._parts.config.dry_run:
            owed = self._stops.owed(moves)  # by an earlier daemon: nobody else would let them run
            self._tell([move for move in moves if move not in owed], dry_run=True)
            moves = owed
        if moves:
            self._tell(moves, dry_run=False)
            await self._hands.carry_out(moves, self._parts.senses, patience_s)

    def _tell(self, moves: Sequence[Decision], *, dry_run: bool) -> None:
        self._chronicle.moves(moves, asyncio.get_running_loop().time(), dry_run=dry_run)

    async def _split_holed(self, pid: int) -> Splits | None:
        return await self._parts.processes.split_holed(pid)

    async def _reload(self) -> None:
        """Take the configuration as it is now, whole, or keep the old one; what was learnt about guests stays."""
        self._reload_asked = False
        if not self._is_ready:  # it is part of the start, which ends with the first good tick
            await self._take_configuration()
            return
        self._manager.reloading()
        try:
            await self._take_configuration()
        finally:
            self._manager.ready()

    async def _take_configuration(self) -> None:
        old, parts = self._parts, None
        try:
            config = self._load()
            if config.socket != old.config.socket:
                raise BadInput("[control] socket cannot change while the daemon runs; restart it")
            parts = self._assemble(config, self.wake, old)
            self._bulletin.metrics.listen(config.metrics)
            await self._part(parts)
            await parts.start(self.wake, running=old.hypervisors, pressed=self._watches.pressed)
        except Exception as error:
            says = f"the configuration was not reloaded and the old one stays: {in_a_sentence(error)}"
            self._refused = [Problem("reload", says)]
            log.error("%s", says)
            log.debug("where it failed", exc_info=True)
            if parts is not None:
                await _let_go(parts.close(keep=old))
                with suppress(CouldNot):
                    self._bulletin.metrics.listen(old.config.metrics)
            return
        self._parts, self._refused = parts, []
        await _let_go(old.close(keep=parts))
        if parts.engine.policy.name != old.engine.policy.name:
            self._state = parts.engine.take_over(self._state)
        log.info("reloaded: %s", self._introduction())

    async def _part(self, new: Parts) -> None:
        """Let all run that we stopped whom the `new` parts may not see, or must not touch; and hand memory back to
        those whom they leave alone."""

        async def part() -> None:
            old = self._parts
            snapshot = await _last_look(old)
            now = asyncio.get_running_loop().time()
            if _sources(new) != _sources(old) or new.config.dry_run:
                self._state, resumes = old.engine.release(self._state, snapshot, now)
                await self._act(resumes, RESUME_S)
                await self._cross_out()
            if not new.config.dry_run:
                whom = left_alone(old.config, new.config, snapshot.guests)
                self._state, orders = old.engine.hand_back(self._state, snapshot, now, whom)
                await self._act(orders, HAND_BACK_S)

        await _within(FAREWELL_S, part(), "not all guests were resumed, or got memory back")

    async def _lift(self) -> None:
        """Have no limit of ours on any guest."""
        says = "limits on guests may still be there (run --release)"
        await _within(LIFT_S, self._containment.lift(), says)

    async def _leave(self) -> None:
        """Resume whom we stopped, hand back what the pool allows, and let go; what takes too long is left undone.

        Who could not be resumed stays in the state file, for the next daemon or for `run --release`.
        """
        await self._lift()
        await _within(FAREWELL_S, self._say_farewell(), "not all guests were resumed, or got memory back")
        await _within(KEEP_S, self._keep(), "what was learnt is not kept")
        if self._stops.entries:
            names = ", ".join(one.name for one in self._stops.entries)
            log.error("still stopped: %s; run with --release, or start the daemon again", names)
        await _let_go(self._close())

    async def _say_farewell(self) -> None:
        snapshot = await _last_look(self._parts)
        now = asyncio.get_running_loop().time()
        farewell = self._parts.engine.farewell(self._state, snapshot, now)
        await self._act([one for one in farewell if isinstance(one, Resume)], RESUME_S)
        handed_back = [one for one in farewell if isinstance(one, SetTarget)]
        await self._act(handed_back, HAND_BACK_S)
        says = left_small(handed_back, await self._hands.close())
        if says is not None:
            log.error("%s", says)

    async def _keep(self) -> None:
        """Have the state file tell of this moment."""
        if self._stops.entries:
            await self._cross_out()
        if self._ticks:  # else what was kept may not even have been read
            await self._keeper.close(self._parts.engine, self._state, self._parts.processes.identity)

    async def _cross_out(self) -> None:
        """Have those no more in the state file who run, as the last orders were answered."""
        engine, now = self._parts.engine, asyncio.get_running_loop().time()
        self._state = engine.learnt(self._state, self._hands.became(), now)
        await self._stops.cross_out(await self._parts.senses.guests(), self._state)

    async def _close(self) -> None:
        await asyncio.gather(self._holes.close(), self._parts.close())


async def _within(bound_s: float, work: Awaitable[object], otherwise: str) -> None:
    """Do `work`; where it fails, or takes longer, the log says what is so `otherwise`."""
    try:
        async with asyncio.timeout(bound_s):
            await work
    except Exception as error:
        log.error("%s: %s", otherwise, in_a_sentence(error))


async def _last_look(parts: Parts) -> Snapshot:
    """What is known now. A host that cannot be read has nothing to hand out; who was stopped is to run all the same."""
    try:
        return await parts.senses.snapshot()
    except Exception as error:
        log.error("no guest gets memory back: %s", in_a_sentence(error))
        return Snapshot(Host(capacity=0, available=0), tuple(await parts.senses.guests()))


async def _let_go(closing: Awaitable[object]) -> None:
    await _within(CLOSE_S, closing, "not everything was let go in order")


def _sources(parts: Parts) -> tuple[object, ...]:
    """Where guests come from."""
    return parts.config.qmp, parts.config.libvirt
