"""The control socket: one JSON object a line, answered by verbs; docs/reference/control-protocol.md.

Whoever connects may be broken or hostile: lines, connections and waiting replies are bounded, a mistake is
answered with an error, and no client can delay the loop or another client.
"""

import asyncio
import inspect
import logging
import select
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import msgspec

from autoballoon import __version__
from autoballoon.daemon.protocol import (
    VERSION,
    Args,
    Identity,
    Refused,
    Verb,
    Verbs,
    error,
    fields_of,
    ok,
    request_of,
    verb_of,
)

log = logging.getLogger(__name__)

LONGEST_LINE = 1 << 20
"""Bytes of a request, its newline included; replies are as long as the number of guests makes them."""
MOST_CLIENTS = 16
MOST_WAITING = 8
"""Requests of one client that wait for their answers at a time."""
REPLY_PATIENCE_S = 10.0
"""A client that leaves the reply to its own request lying this long is let go; watchers may be slower."""
IDLE_S = 10.0
"""One that has said nothing for so long, and waits for nothing, leaves when another wants its place."""
GONE_S = 0.5
"""How often a client that sends no more is looked at: it may still wait for answers, or be gone."""


class Board:
    """The latest status, encoded once and only when somebody asks or watches."""

    def __init__(self) -> None:
        self._latest: Callable[[], bytes] | None = None
        self._encoded: msgspec.Raw | None = None
        self._changed = asyncio.Event()

    def put(self, document: Callable[[], bytes]) -> None:
        """Show a new status to all; those who are still busy with an older one lose what came between."""
        self._latest, self._encoded = document, None
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def latest(self) -> msgspec.Raw:
        if self._latest is None:
            raise Refused("not-yet", "the daemon has not finished its first tick; ask again in a second")
        if self._encoded is None:
            self._encoded = msgspec.Raw(self._latest())
        return self._encoded

    async def next(self) -> msgspec.Raw:
        """The first status that is put after this moment, or a later one."""
        await self._changed.wait()
        return self.latest()


class ControlServer:
    """Serves the control protocol on a listening socket until it is closed."""

    def __init__(self, board: Board, verbs: Mapping[str, Verb] | None = None) -> None:
        """`verbs` are answered beside those of the board: status, watch, ping, version."""
        this = {"version": __version__, "protocol": VERSION}
        own = {
            "status": Verb(Args, lambda args: board.latest()),
            "watch": Verb(Args, lambda args: None),
            "ping": Verb(Args, lambda args: this),
            "version": Verb(Args, lambda args: this),
        }
        self._verbs: Verbs = {**own, **(verbs or {})}
        self._board = board
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], _Client] = {}

    async def start(self, listener: socket.socket) -> None:
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=LONGEST_LINE)

    async def close(self) -> None:
        """Stop listening and let every client go."""
        if self._server is not None:
            self._server.close()
        clients = tuple(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(self._board, self._verbs, reader, writer)
        too_many = len(self._clients) >= MOST_CLIENTS and not self._let_one_go()
        task = asyncio.ensure_future(self._serve(client, writer, too_many=too_many))
        self._clients[task] = client
        task.add_done_callback(lambda done: self._clients.pop(done, None))

    def _let_one_go(self) -> bool:
        """Make a place where somebody idle holds one; whether there is one now."""
        idle = [
            (client.heard_at, n, task)
            for n, (task, client) in enumerate(self._clients.items())
            if client.is_idle
        ]
        if not idle:
            return False
        *_, task = min(idle)
        task.cancel()
        self._clients.pop(task)
        return True

    @staticmethod
    async def _serve(client: "_Client", writer: asyncio.StreamWriter, too_many: bool) -> None:
        try:
            if too_many:
                await client.turn_away()
            else:
                await client.serve()
            writer.close()
            async with asyncio.timeout(REPLY_PATIENCE_S):
                await writer.wait_closed()
        except (OSError, asyncio.CancelledError):  # gone, too slow (TimeoutError), or we are leaving
            writer.transport.abort()


class _Client:
    """One connection."""

    def __init__(
        self, board: Board, verbs: Verbs, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self._board = board
        self._verbs = verbs
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()
        """Held while a line is written, so that lines do not mix."""
        self._watch: asyncio.Task[None] | None = None
        self._waiting: set[asyncio.Task[None]] = set()
        """Requests whose answers take time."""

    @property
    def is_idle(self) -> bool:
        """It has had its time and waits for nothing."""
        quiet_s = asyncio.get_running_loop().time() - self.heard_at
        return self._watch is None and not self._waiting and quiet_s > IDLE_S

    async def turn_away(self) -> None:
        says = f"{MOST_CLIENTS} clients are connected already; close one of them"
        await self._reply(error(None, Refused("busy", says)))

    async def serve(self) -> None:
        """Answer requests until the client hangs up."""
        try:
            while True:
                try:
                    line = await self._reader.readuntil()
                except asyncio.IncompleteReadError:
                    await self._finish()
                    return
                except asyncio.LimitOverrunError:
                    says = f"a request is at most {LONGEST_LINE} bytes; the connection is closed"
                    await self._reply(error(None, Refused("too-long", says)))
                    return
                self.heard_at = asyncio.get_running_loop().time()
                reply = self._answer(line)
                if reply is not None:
                    await self._reply(reply)
        finally:
            tasks = [*self._waiting, *([self._watch] if self._watch is not None else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _finish(self) -> None:
        """It sends no more. As long as it still reads it gets its answers; one that is gone waits for none."""
        while self._waiting and not _is_gone(self._writer.get_extra_info("socket")):
            await asyncio.wait(self._waiting, timeout=GONE_S)

    def _answer(self, line: bytes) -> bytes | None:
        """The reply to one request; None when it is a watch, or takes time, and answers later."""
        identity: object = None
        try:
            fields = fields_of(line)
            identity = fields.get("id")
            request = request_of(fields)
            verb, args = verb_of(request, self._verbs)
            if request.do == "watch":
                self._begin_watch(request.id)
                return None
            if len(self._waiting) >= MOST_WAITING:
                raise Refused("busy", f"{MOST_WAITING} requests wait for their answers; send fewer at a time")
            answer = verb.answer(args)
            if not inspect.isawaitable(answer):
                return ok(request.id, answer)
            task = asyncio.create_task(self._answer_later(request.id, answer))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)
            return None
        except Refused as refused:
            return error(identity, refused)

    async def _answer_later(self, identity: Identity, answer: Awaitable[object]) -> None:
        try:
            reply = ok(identity, await answer)
        except Refused as refused:
            reply = error(identity, refused)
        with suppress(OSError):  # it is gone, or takes nothing (TimeoutError)
            await self._reply(reply)
            return
        self._writer.transport.abort()

    def _begin_watch(self, identity: Identity) -> None:
        if self._watch is not None:
            raise Refused("busy", "this connection watches already; open another one")
        self._watch = asyncio.create_task(self._keep_telling(identity))

    async def _keep_telling(self, identity: Identity) -> None:
        """One reply per tick, as fast as the client takes them: only then is the next status looked at."""
        while True:
            status = await self._board.next()
            async with self._turn:
                await self._write(ok(identity, status))

    async def _reply(self, reply: bytes) -> None:
        async with asyncio.timeout(REPLY_PATIENCE_S), self._turn:
            await self._write(reply)

    async def _write(self, line: bytes) -> None:
        self._writer.write(line)
        await self._writer.drain()


def _is_gone(peer: socket.socket) -> bool:
    """Whether both ways of a connection are closed; one that was only shut down for writing still reads."""
    poll = select.poll()
    poll.register(peer.fileno(), 0)  # POLLHUP and POLLERR are always told
    return bool(poll.poll(0))
