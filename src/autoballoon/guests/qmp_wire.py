"""One connection to a QMP server: commands with a deadline, events, and a teardown that cannot hang.

WireError
├── NotThere    nobody listens: the guest is gone
├── Unusable    somebody listens, and it cannot be used; the text is a sentence for the operator
│   └── NotQmp  and never could be: it is another program's socket
├── Lost        the connection was good and is not any more
└── Refused     QEMU answered the command with an error; the connection is fine
"""

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable
from typing import Any

from qemu.qmp import ConnectError, QMPError, Runstate

from autoballoon.guests.qmp_client import Client, Command, OnEvent, Unanswered
from autoballoon.guests.sockets import way_to

_NO_GREETING = (
    "gave no greeting within {:g} s: another client holds it or QEMU is stopped;"
    " give the guest a -qmp socket of its own"
)
_NO_CAPABILITIES = "greeted, and did not answer qmp_capabilities within {:g} s; look whether its QEMU hangs"


class WireError(Exception):
    """Anything that can go wrong between a QMP server and us."""


class NotThere(WireError):
    """No process listens at the socket."""


class Unusable(WireError):
    """The socket cannot be used; the text says why and what to do."""


class NotQmp(Unusable):
    """Who listens greets as no QMP server does."""


class Lost(WireError):
    """The connection broke, or an answer did not come in time."""


class Refused(WireError):
    """QEMU answered with an error; `kind` is its class, such as CommandNotFound."""

    def __init__(self, kind: str, says: str) -> None:
        super().__init__(says)
        self.kind = kind


class Wire:
    """An open QMP session. Made by `open_wire`; every wire must be closed."""

    def __init__(self, peer: socket.socket, client: Client, timeout_s: float) -> None:
        self._peer = peer
        self._client = client
        self._timeout_s = timeout_s
        self._watch: asyncio.Task[None] | None = None
        self.peer_pid = _peer_pid(peer)
        """The process that called listen(), as the kernel says: QEMU itself, or who handed it the socket."""

    @property
    def is_open(self) -> bool:
        """Whether the peer has not hung up, as far as known."""
        return self._client.runstate is Runstate.RUNNING

    def when_lost(self, call: Callable[[], None]) -> None:
        """Call `call` once when the connection ends."""

        async def watch() -> None:
            while self.is_open:
                await self._client.runstate_changed()
            call()

        self._watch = asyncio.create_task(watch())

    async def run(self, command: str, **arguments: object) -> Any:
        """The answer to one QMP command. Lost when none comes in time, Refused when QEMU says no."""
        (answer,) = await self.run_all(Command(command, arguments or None))
        return answer

    async def run_dict(self, command: str, **arguments: object) -> dict[str, Any]:
        """As `run`, for a command whose answer is an object. Lost when it is anything else."""
        return as_dict(await self.run(command, **arguments), command)

    async def run_all(self, *commands: Command) -> list[Any]:
        """The answers to several commands sent at once: one trip instead of many; the first refusal is raised."""
        answers = await self.run_each(*commands)
        for answer in answers:
            if isinstance(answer, Refused):
                raise answer
        return answers

    async def run_each(
        self, *commands: Command, before: tuple[Command, ...] = (), pause_s: float = 0.0
    ) -> list[Any]:
        """As `run_all`, but what QEMU refuses has the refusal for an answer.

        `before`: commands that are sent `pause_s` earlier; their answers come first.
        """
        try:
            replies = await self._client.trip(commands, self._timeout_s, before=before, pause_s=pause_s)
        except Unanswered as command:
            raise Lost(f"did not answer {command} within {self._timeout_s:g} s") from None
        except (QMPError, OSError, EOFError):
            raise Lost("closed the connection") from None
        return [
            _answer(reply, command.name) for reply, command in zip(replies, (*before, *commands), strict=True)
        ]

    async def close(self) -> None:
        """Let the socket go; never raises and never waits for the peer."""
        if self._watch is not None:
            self._watch.cancel()
        # A peer that has stopped reading would keep disconnect() waiting for its output to drain.
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)
        # A disconnect() that is cancelled leaves its library with exceptions that nobody takes.
        await asyncio.shield(asyncio.create_task(self._disconnect()))

    async def _disconnect(self) -> None:
        # disconnect() raises what ended the connection; the library's parser fails in ways of its own at deep nesting.
        with contextlib.suppress(Exception):
            await self._client.disconnect()


async def open_wire(
    path: str,
    timeout_s: float,
    on_event: OnEvent,
    waits: Callable[[str], None] | None = None,
    queue_s: float = 0.0,
) -> Wire:
    """Connect to the QMP server at `path` and negotiate, each within `timeout_s`. Raises NotThere or Unusable.

    With `waits` a server that does not greet in time is told to it, in a sentence, and then waited for, `queue_s` in
    all: we stand in its queue, and are served as soon as it goes on or its other client leaves. Who comes again and
    again instead fills the queue with connections that are dead, and may be away when it goes on.
    """
    peer = _connect(path)
    client = Client(timeout_s, on_event)

    def late() -> None:
        if waits is not None and client.greeting is None:
            waits(_NO_GREETING.format(timeout_s))

    try:
        slow = asyncio.get_running_loop().call_later(timeout_s, late)
        try:
            async with asyncio.timeout(timeout_s if waits is None else queue_s):
                await client.connect(peer)
        finally:
            slow.cancel()
        return Wire(peer, client, timeout_s)
    except BaseException as error:
        peer.close()
        cause = error.exc if isinstance(error, ConnectError) else error
        if isinstance(cause, TimeoutError):
            says = _NO_GREETING if client.greeting is None else _NO_CAPABILITIES
            raise Unusable(says.format(timeout_s)) from None
        if isinstance(cause, EOFError | ConnectionError):
            when = "before it greeted" if client.greeting is None else "after it greeted"
            raise Unusable(f"hung up {when}; look whether its QEMU is starting or ending") from None
        if isinstance(error, ConnectError):
            raise NotQmp("does not speak QMP; take it out of [connect] qmp") from None
        raise


def as_dict(answer: object, command: str) -> dict[str, Any]:
    """The answer to `command` when it is an object, as QEMU's is; Refused when it is a refusal, else Lost."""
    if isinstance(answer, dict):
        return answer
    if isinstance(answer, Refused):
        raise answer
    raise Lost(f"answers {command} as QEMU never does; take it out of [connect] qmp")


def _answer(reply: dict[str, Any], command: str) -> Any:
    if "return" in reply:
        return reply["return"]
    error = as_dict(reply.get("error"), command)
    return Refused(str(error.get("class")), str(error.get("desc")))


def new_socket() -> socket.socket:
    """A unix socket that does not block, not connected yet. Unusable where no more files may be opened."""
    try:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise Unusable(
            f"cannot be connected to ({error.strerror}); let autoballoon have more open files (LimitNOFILE=)"
        ) from None


def _connect(path: str) -> socket.socket:
    # asyncio takes EAGAIN from a full queue of a unix socket for a connection in progress, and reports it as made.
    peer = new_socket()
    try:
        with way_to(path) as address:
            peer.connect(address)
    except OSError as error:
        peer.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            raise NotThere(path) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise Unusable("permission denied; run autoballoon as root or as the socket's group") from None
        if error.errno == errno.EAGAIN:
            raise Unusable(
                "has clients waiting already: another one holds it or QEMU is stopped;"
                " give the guest a -qmp socket of its own"
            ) from None
        raise Unusable(f"cannot be connected to ({error.strerror or error}); look at its path") from None
    return peer


def _peer_pid(peer: socket.socket) -> int | None:
    try:
        pid, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except OSError:
        return None
    return int(pid) or None
