"""The control protocol: one JSON object a line over a unix socket; docs/reference/control-protocol.md.

Whoever connects may be broken or hostile: lines, connections and waiting replies are bounded, a mistake is
answered with an error, and no client can delay the loop or another client.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from autoballoon import __version__

VERSION = 1
LONGEST_LINE = 1 << 20
"""Bytes of a request, its newline included; replies are as long as the number of guests makes them."""
MOST_CLIENTS = 16
REPLY_PATIENCE_S = 10.0
"""A client that leaves the reply to its own request lying this long is let go; watchers may be slower."""


class Refused(Exception):
    """A request that is answered with an error; `code` is for programs, `says` for people."""

    def __init__(self, code: str, says: str) -> None:
        super().__init__(says)
        self.code = code
        self.says = says


Identity = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)] | Annotated[str, msgspec.Meta(max_length=64)]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    id: Identity
    do: str
    args: dict[str, Any] = {}


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

    def __init__(self, board: Board) -> None:
        self._board = board
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self, listener: socket.socket) -> None:
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=LONGEST_LINE)

    async def close(self) -> None:
        """Stop listening and let every client go."""
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.ensure_future(
            self._serve(reader, writer, too_many=len(self._clients) >= MOST_CLIENTS)
        )
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, too_many: bool
    ) -> None:
        try:
            client = _Client(self._board, reader, writer)
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

    def __init__(self, board: Board, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._board = board
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()
        """Held while a line is written, so that a watch and a reply do not mix."""
        self._watch: asyncio.Task[None] | None = None

    async def turn_away(self) -> None:
        says = f"{MOST_CLIENTS} clients are connected already; close one of them"
        await self._reply(_error(None, Refused("busy", says)))

    async def serve(self) -> None:
        """Answer requests until the client hangs up."""
        try:
            while True:
                try:
                    line = await self._reader.readuntil()
                except asyncio.IncompleteReadError:
                    return
                except asyncio.LimitOverrunError:
                    says = f"a request is at most {LONGEST_LINE} bytes; the connection is closed"
                    await self._reply(_error(None, Refused("too-long", says)))
                    return
                reply = self._answer(line)
                if reply is not None:
                    await self._reply(reply)
        finally:
            if self._watch is not None:
                self._watch.cancel()
                await asyncio.gather(self._watch, return_exceptions=True)

    def _answer(self, line: bytes) -> bytes | None:
        """The reply to one request; None when it is a watch, which answers later and often."""
        identity: object = None
        try:
            fields = _fields(line)
            identity = fields.get("id")
            request = _request(fields)
            if request.do == "watch":
                self._begin_watch(request.id)
                return None
            return _ok(request.id, self._look_up(request.do))
        except Refused as refused:
            return _error(identity, refused)

    def _look_up(self, verb: str) -> object:
        if verb == "status":
            return self._board.latest()
        return {"version": __version__, "protocol": VERSION}

    def _begin_watch(self, identity: Identity) -> None:
        if self._watch is not None:
            raise Refused("busy", "this connection watches already; open another one")
        self._watch = asyncio.create_task(self._keep_telling(identity))

    async def _keep_telling(self, identity: Identity) -> None:
        """One reply per tick, as fast as the client takes them: only then is the next status looked at."""
        while True:
            status = await self._board.next()
            async with self._turn:
                await self._write(_ok(identity, status))

    async def _reply(self, reply: bytes) -> None:
        async with asyncio.timeout(REPLY_PATIENCE_S), self._turn:
            await self._write(reply)

    async def _write(self, line: bytes) -> None:
        self._writer.write(line)
        await self._writer.drain()


VERBS = ("status", "watch", "ping", "version")


def _fields(line: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("bad-json", "the line is not JSON; send one object a line") from None
    if not isinstance(fields, dict):
        raise Refused("bad-request", 'the line is not an object; send {"v":1,"id":1,"do":"status","args":{}}')
    return fields


def _request(fields: dict[str, Any]) -> Request:
    if fields.get("v") != VERSION:
        raise Refused(
            "bad-version", f"this daemon speaks version {VERSION} of the protocol; send v = {VERSION}"
        )
    try:
        request = msgspec.convert(fields, Request)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Refused("bad-request", f"{error}"[:300]) from None
    if request.do not in VERBS:
        raise Refused(
            "unknown-verb", f"there is no verb {request.do[:40]!r}; the verbs are {', '.join(VERBS)}"
        )
    if request.args:
        raise Refused("bad-args", f"{request.do} takes no args; leave them out")
    return request


def _ok(identity: Identity, data: object) -> bytes:
    return msgspec.json.encode({"v": VERSION, "id": identity, "ok": True, "data": data}) + b"\n"


def _error(identity: object, refused: Refused) -> bytes:
    """An error names the request by its id, unless that is none that we would take."""
    try:
        known = msgspec.convert(identity, Identity | None)
    except msgspec.ValidationError:
        known = None
    error = {"code": refused.code, "says": refused.says}
    return msgspec.json.encode({"v": VERSION, "id": known, "ok": False, "error": error}) + b"\n"
