"""qemu.qmp's client, made cheap where a daemon of a thousand guests needs it: many commands in one trip, no log."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from qemu.qmp import ExecInterruptedError, Message, QMPClient, Runstate

MAX_LINE = 256 * 1024
"""Bytes of one message: twenty times the largest answer to what we ask (a qom-list of a hundred devices)."""

FLOOD_LINES, FLOOD_S = 100, 0.1
"""From who has sent more lines in this time nothing is read for as long: a guest's kernel can have its QEMU send one
event (ACPI_DEVICE_OST) after the other."""

OnEvent = Callable[[str, dict[str, Any]], None]
"""Called with an event's name and data, in the order in which QEMU sent them; must not raise."""

_SILENT = logging.Logger("qmp", level=logging.CRITICAL + 1)


class Command(NamedTuple):
    """What is asked of QEMU."""

    name: str
    arguments: Mapping[str, object] | None = None


class Unanswered(Exception):
    """No answer came in time; the text is the name of the first command that lacks one."""


class _Request(msgspec.Struct, omit_defaults=True):
    execute: str
    id: int
    arguments: Mapping[str, object] | None = None


class _Trip:
    """Commands whose replies are awaited together, and the replies that have come."""

    def __init__(self, commands: Sequence[Command], first_id: int, all_there: asyncio.Future[None]) -> None:
        self.ids = range(first_id, first_id + len(commands))
        self.all_there = all_there
        self._commands = commands
        self._replies: dict[int, dict[str, Any]] = {}

    def requests(self) -> list[bytes]:
        """What to send."""
        pairs = zip(self._commands, self.ids, strict=True)
        return [msgspec.json.encode(_Request(name, each, arguments)) for (name, arguments), each in pairs]

    def take(self, number: int, reply: dict[str, Any]) -> None:
        """QEMU has replied."""
        self._replies[number] = reply
        if len(self._replies) == len(self._commands) and not self.all_there.done():
            self.all_there.set_result(None)

    def fail(self, error: Exception) -> None:
        """There will be no more replies."""
        if not self.all_there.done():
            self.all_there.set_exception(error)

    def time_is_up(self) -> None:
        """Fail with Unanswered."""
        lacking = [
            name for (name, _), n in zip(self._commands, self.ids, strict=True) if n not in self._replies
        ]
        if lacking:
            self.fail(Unanswered(lacking[0]))

    @property
    def replies(self) -> list[dict[str, Any]]:
        """Once all are there: in the order of the commands."""
        return [self._replies[number] for number in self.ids]


class Client(QMPClient):
    """qemu.qmp's client with a way of its own for commands and events; connecting and ending stay the library's.

    The library passes each message through two queues and three tasks and formats it twice for its log: ten passes
    of the event loop for one command. Here a trip takes two, and one for each piece in which the replies arrive: they
    are taken out of the stream before the library sees it, and so are events. Faults come as exceptions.
    """

    def __init__(self, timeout_s: float, on_event: OnEvent) -> None:
        """`timeout_s`: for qmp_capabilities, once the server has greeted."""
        super().__init__(readbuflen=MAX_LINE)
        self._on_event = on_event
        self._flood_began = -1e9
        self._flood_lines = 0
        self._timeout_s = timeout_s
        self.logger = _SILENT
        self._awaited: dict[int, _Trip] = {}
        """By the ids of the commands; the library's own ids are strings."""
        self._next_id = 1
        self._begun = b""
        """The beginning of a line whose end has not come yet."""

    async def trip(
        self,
        commands: Sequence[Command],
        timeout_s: float,
        *,
        before: Sequence[Command] = (),
        pause_s: float = 0.0,
    ) -> list[dict[str, Any]]:
        """QEMU's replies to commands sent together, in their order, each an object with `return` or `error`.

        `before`: commands sent `pause_s` earlier, whose replies go first. Whatever comes in the pause is read at its
        end, at once. Unanswered when a reply is missing after `timeout_s`; ExecInterruptedError when the connection
        ends.
        """
        loop = asyncio.get_running_loop()
        trip = _Trip((*before, *commands), self._next_id, loop.create_future())
        self._next_id = trip.ids.stop
        self._awaited.update(dict.fromkeys(trip.ids, trip))
        requests = trip.requests()
        try:
            if before:
                self._write(requests[: len(before)])
                await self._pause(pause_s)
            self._write(requests[len(before) :])
            late = loop.call_later(timeout_s, trip.time_is_up)
            try:
                await trip.all_there
            finally:
                late.cancel()
        finally:
            if not trip.all_there.cancel() and not trip.all_there.cancelled():
                trip.all_there.exception()  # has been looked at: asyncio need not complain of it
            for number in trip.ids:
                self._awaited.pop(number, None)
        return trip.replies

    def _write(self, requests: Sequence[bytes]) -> None:
        if self._writer is None or self.runstate is not Runstate.RUNNING:
            raise ExecInterruptedError("Disconnected")
        self._writer.write(b"".join(requests))  # one system call, and QEMU is woken once

    async def _pause(self, seconds: float) -> None:
        assert self._writer is not None
        transport = self._writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        try:
            await asyncio.sleep(seconds)
        finally:
            transport.resume_reading()

    async def _negotiate(self) -> None:
        async with asyncio.timeout(self._timeout_s):
            await super()._negotiate()

    async def _do_connect(self, address: Any, ssl: Any = None) -> None:
        await super()._do_connect(address, ssl)
        assert self._reader is not None
        pass_on = self._reader.feed_data
        self._reader.feed_data = lambda data: self._take(data, pass_on)  # type: ignore[method-assign]

    def _take(self, data: Any, pass_on: Callable[[bytes], None]) -> None:
        self._sort(data, pass_on)
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._flood_began >= FLOOD_S:
            self._flood_began, self._flood_lines = now, 0
        self._flood_lines += data.count(b"\n")
        if self._flood_lines > FLOOD_LINES and self._writer is not None:
            transport = self._writer.transport
            assert isinstance(transport, asyncio.ReadTransport)
            transport.pause_reading()
            loop.call_later(FLOOD_S, transport.resume_reading)

    def _sort(self, data: Any, pass_on: Callable[[bytes], None]) -> None:
        """Take the replies to our trips and the events out of what has come; the rest is the library's."""
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            if not self._is_ours(line):
                pass_on(line + b"\n")
        if len(self._begun) > MAX_LINE:  # the library complains of it
            pass_on(self._begun)
            self._begun = b""

    def _is_ours(self, line: bytes) -> bool:
        try:
            reply = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if not isinstance(reply, dict):
            return False
        if "event" in reply:
            told = reply.get("data")
            self._on_event(str(reply["event"]), told if isinstance(told, dict) else {})
            return True
        number = reply.get("id")
        trip = self._awaited.pop(number, None) if isinstance(number, int) else None
        if trip is None or number is None:
            return False
        trip.take(number, reply)
        return True

    async def _bh_disconnect(self) -> None:
        try:
            await super()._bh_disconnect()
        finally:
            for trip in self._awaited.values():
                trip.fail(ExecInterruptedError("Disconnected"))

    def _cb_outbound(self, msg: Message) -> Message:
        return msg

    def _cb_inbound(self, msg: Message) -> Message:
        return msg
