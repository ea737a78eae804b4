"""The guests' own agents, behind unix sockets named by globs or by libvirt: they say how badly a guest wants memory,
and at once. Where there is only qemu-guest-agent, the same is read through that.

Nothing here is waited for, and nothing that an agent says or leaves unsaid delays or hurts another guest: lines are
bounded in length and number, and a line that says "pressure" only has the guest looked at early.
"""

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from autoballoon.core.model import Guest
from autoballoon.guests.agent_join import joined
from autoballoon.guests.agent_line import MOST_A_SECOND, Allowance, Heard, Lines, read
from autoballoon.guests.hypervisor import Problem
from autoballoon.guests.qga import Qga
from autoballoon.guests.qmp_wire import Unusable, new_socket
from autoballoon.guests.sockets import Rescan, sockets, way_to
from autoballoon.views.agents import SILENT_S, AgentStatus

CHUNK = 16 << 10
"""Bytes that are read at once."""
PAUSE_S = 0.1
"""An agent that says more than is taken is not read for so long: a flood costs ten reads a second."""
MOST_READS = 20
"""Reads a second that need no pause after them, however little they bring: bytes one by one cost thirty a second. An
honest agent's lines, seven a second at most, come with one read each, or two where a line comes in parts."""
RESCAN_S = 1.0
BACKOFF_S = (0.2, 5.0)


class Pressed(Protocol):
    """Called when an agent says that its guest runs short: as often as lines are taken, and no more."""

    def __call__(self, key: str, *, waits: bool) -> None:
        """`key`: the guest's; `waits`: something in it has waited for memory since the line before, as it says."""


class Session:
    """The agent behind one socket, as long as the socket exists. `run` is its task."""

    def __init__(self, path: str, stem: str, clock: Callable[[], float], pressed: Pressed) -> None:
        self.path = path
        self.stem = stem
        self.heard = Heard()
        self.taken = self.dropped = 0
        """Lines."""
        self.trouble: str | None = None
        self.guest: Guest | None = None
        """Whose agent it is, as last seen; None as long as there is no such guest."""
        self._clock = clock
        self._pressed = pressed
        self._peer: socket.socket | None = None
        self._told: tuple[int, int] | None = None
        self._unsent = b""

    async def run(self) -> None:
        """Connect, listen, connect again; until cancelled."""
        delay_s = BACKOFF_S[0]
        while True:
            self.trouble = self._connect()
            if self._peer is not None:
                began = self._clock()
                try:
                    await self._listen(self._peer)
                except OSError as error:
                    self.trouble = f"was lost ({error.strerror}); look whether its QEMU ended"
                finally:
                    self._peer.close()
                    self._peer = None
                if self._clock() - began > BACKOFF_S[1]:
                    delay_s = BACKOFF_S[0]
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, BACKOFF_S[1])

    def tell(self, target: int, most: int) -> None:
        """Tell the guest what it is asked to be, where that is news. Nothing is waited for: a guest that does not
        read hears the newest of it when it does."""
        if self._peer is None:
            return
        if not self._unsent and self._told != (target, most):
            self._told = target, most
            self._unsent = b'{"v":1,"target":%d,"max":%d}\n' % (target, most)
        if self._unsent:
            with contextlib.suppress(OSError):
                self._unsent = self._unsent[self._peer.send(self._unsent) :]

    @property
    def is_fresh(self) -> bool:
        """Whether its last word is young enough to be believed."""
        return self.heard.word is not None and self._clock() - self.heard.at < SILENT_S

    def status(self) -> AgentStatus:
        """How it is, for people."""
        age_s = None if self.heard.word is None else round(self._clock() - self.heard.at, 3)
        return AgentStatus(age_s=age_s, lines=self.taken, dropped=self.dropped)

    def _connect(self) -> str | None:
        """Open the connection; says in a sentence why it could not be."""
        try:
            peer = new_socket()
        except Unusable as error:
            return str(error)
        try:
            with way_to(self.path) as address:
                peer.connect(address)
        except OSError as error:
            peer.close()
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                return None  # its QEMU has ended
            if error.errno == errno.EAGAIN:
                return "has clients waiting already; let autoballoon be the only one"
            why = error.strerror or error
            return f"cannot be connected to ({why}); run autoballoon as root or as the socket's group"
        self._peer, self._told, self._unsent = peer, None, b""
        return None

    async def _listen(self, peer: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        lines, allowance = Lines(), Allowance(self._clock())
        reads = Allowance(self._clock(), MOST_READS)
        self.heard = Heard()
        while received := await loop.sock_recv(peer, CHUNK):
            taken, lines.dropped = self.taken, 0
            found = lines.feed(received)
            # Of what comes at once more than these cannot be taken; where we stood still ourselves the last are news.
            for line in found[-MOST_A_SECOND:]:
                if allowance.take(self._clock()):
                    self._hear(line)
            dropped = lines.dropped + len(found) - (self.taken - taken)
            self.dropped += dropped
            # Where there is always something to read, sock_recv alone would let nobody else have a turn.
            if dropped or len(received) == CHUNK or not reads.take(self._clock()):
                await asyncio.sleep(PAUSE_S)

    def _hear(self, line: bytes) -> None:
        """Take in what it says, if an honest agent could have sent it now."""
        word, before = read(line), self.heard.word
        if word is None or (self.guest is not None and not word.suits(self.guest.max)):
            return
        if not self.heard.take(word, self._clock()):
            return
        self.taken += 1
        if word.seq == 1:
            self._told = None  # an agent that has just started knows nothing
        if word.why == "pressure" and self.guest is not None:
            self._pressed(self.guest.key, waits=word.waits_more_than(before))


class Agents:
    """All agents whose sockets match `globs` or are a guest's channel, and qemu-guest-agents at sockets of `qga`.

    `refuse(socket)` says in a sentence why a socket that matches must not be touched, or None.
    """

    def __init__(
        self,
        globs: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        qga: Sequence[str] = (),
        refuse: Callable[[str], str | None] = lambda path: None,
    ) -> None:
        self._globs = tuple(globs), tuple(qga)
        self._clock = clock
        self._refuse = refuse
        self._refused: dict[str, str] = {}
        self._met_channels: Mapping[str, str] = {}
        self._channels: dict[str, str] = {}
        """By a guest's key: the socket of its channel, by its real path as all others."""
        self._sessions: dict[str, Session | Qga] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._names: dict[str, str] = {}
        """Of the guests that there are, by their keys."""
        self._owned: tuple[dict[str, Session], dict[str, Qga]] | None = None
        """Whose each is, by the guest's key, until other sockets or guests are there: it is asked thrice a tick."""
        self._rescan = Rescan(self._scan, RESCAN_S)
        self._listener: Pressed | None = None

    def start(self) -> None:
        """Look for sockets, now and every second; nobody is waited for."""
        if not self._rescan.runs and (any(self._globs) or self._channels):
            self._look()
            self._rescan.start()

    async def look_at(self, globs: Sequence[str], qga: Sequence[str]) -> None:
        """Hear the agents at these sockets from now on, and no others; those that are heard already go on."""
        self._globs = tuple(globs), tuple(qga)
        self._look_now()

    def listen(self, pressed: Pressed) -> None:
        """Have `pressed` called from now on."""
        self._listener = pressed

    def meet(self, guests: Sequence[Guest], channels: Mapping[str, str] | None = None) -> None:
        """These are the guests that there are. `channels`: those of them, by their keys, that have channels for agents,
        with the sockets."""
        names = {guest.key: guest.name for guest in guests}
        if names != self._names:
            self._names, self._owned = names, None
        found = channels or {}
        if found != self._met_channels:
            self._met_channels, self._owned = dict(found), None
            self._channels = {key: os.path.realpath(path) for key, path in found.items()}
            self._look_now()

    def fill(self, guest: Guest) -> Guest:
        """A guest that was met, with what its agent says; as it was where it has none, or one that has been silent."""
        agent, qga = self._voices_of(guest)
        if agent is not None:
            agent.guest = guest
        if qga is not None:
            qga.guest = None if agent is not None and agent.is_fresh else guest
        for one in (agent, qga):
            word = None if one is None else one.heard.word
            if one is not None and word is not None and one.is_fresh and word.suits(guest.max):
                return one.heard.fill(guest, self._clock())
        return guest

    def tell(self, guest: Guest, target: int) -> None:
        """Have the guest know that it is asked to be `target` bytes large."""
        session, _ = self._voices_of(guest)
        if session is not None:
            session.tell(target, guest.max)

    def status(self, guests: Sequence[Guest]) -> dict[str, AgentStatus]:
        """How the agents of these guests are, by the guest's name; guests without one are left out.

        Of two in one guest qemu-guest-agent is told of where it alone is heard.
        """
        found = {}
        for guest in guests if self._sessions else ():
            agent, qga = self._voices_of(guest)
            is_qga = agent is None or (qga is not None and qga.is_fresh and not agent.is_fresh)
            shown = qga if is_qga else agent
            if shown is not None:
                found[guest.name] = shown.status()
        return found

    def problems(self) -> list[Problem]:
        """Sockets that cannot be used, now."""
        theirs = [
            Problem(one.path, one.trouble) for one in self._sessions.values() if one.trouble is not None
        ]
        refused = [Problem(path, says) for path, says in self._refused.items()]
        return [*self._rescan.problems(), *refused, *theirs]

    async def close(self) -> None:
        """Let every socket go."""
        await self._rescan.stop()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._sessions.clear()
        self._tasks.clear()
        self._owned = None

    def _voices_of(self, guest: Guest) -> tuple[Session | None, Qga | None]:
        """The guest's agent and its qemu-guest-agent, as far as it has them."""
        if not self._sessions:
            return None, None
        if self._owned is None:
            self._owned = self._join()
        agents, qgas = self._owned
        return agents.get(guest.key), qgas.get(guest.key)

    def _join(self) -> tuple[dict[str, Session], dict[str, Qga]]:
        """Whose agent each is. Those that may be of several guests are of none; `fill` tells each of its guest."""
        for one in self._sessions.values():
            one.guest = None
        agents = {path: one for path, one in self._sessions.items() if isinstance(one, Session)}
        qgas = [one for one in self._sessions.values() if isinstance(one, Qga)]
        owned = {key: agents.pop(path) for key, path in self._channels.items() if path in agents}
        others = {key: name for key, name in self._names.items() if key not in owned}
        return owned | joined(list(agents.values()), others), joined(qgas, self._names)

    def _press(self, key: str, *, waits: bool) -> None:
        if self._listener is not None:
            self._listener(key, waits=waits)

    async def _scan(self) -> None:
        self._look()

    def _look_now(self) -> None:
        if self._rescan.runs:
            self._look()
        else:
            self.start()

    def _look(self) -> None:
        globs, qga = self._globs
        refused: dict[str, str] = {}
        agents, qgas = sockets(globs, refused), sockets(qga, refused)
        strange = (agents.keys() | qgas.keys()) - self._sessions.keys()
        self._refused = refused | {path: says for path in strange if (says := self._refuse(path)) is not None}
        channels = set(self._channels.values())
        there = (agents.keys() | qgas.keys()) - self._refused.keys() | channels
        if there == self._sessions.keys():
            return
        for path in self._sessions.keys() - there:
            del self._sessions[path]
            self._tasks.pop(path).cancel()
        for path in there - self._sessions.keys():
            if path in agents or path in channels:
                self._begin(Session(path, agents.get(path, ""), self._clock, self._press))
            else:
                self._begin(Qga(path, qgas[path], self._clock))
        self._owned = None

    def _begin(self, session: Session | Qga) -> None:
        self._sessions[session.path] = session
        self._tasks[session.path] = asyncio.create_task(session.run())
