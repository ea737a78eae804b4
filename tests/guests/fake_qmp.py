"""A QMP server on a unix socket that speaks as QEMU 7.2 does, and misbehaves when told to.

Requests need no newline between them (qemu.qmp sends none). One FakeQemu costs a listening socket and no timer, so
that some hundreds fit into one process.
"""

import asyncio
import contextlib
import json
import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoballoon.guests.fake import FakeGuest

MISSING = 2**64 - 1
GREETING = {
    "QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}
}
TAGS = {
    "total": "total-memory",
    "available": "available-memory",
    "free": "free-memory",
    "caches": "disk-caches",
    "swap_in": "swap-in",
    "swap_out": "swap-out",
    "major_faults": "major-faults",
}
DRIVER_OK = ["VIRTIO_CONFIG_S_DRIVER: known", "VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready"]
DEFLATES = ["VIRTIO_BALLOON_F_DEFLATE_ON_OOM: Deflate balloon when guest OOM"]


FIRST_STEP_S, EVENT_GAP_S = 0.002, 1.0
"""A driver tells of each MiB; QEMU passes the first one on, and then the last one of each second (monitor.c)."""


def one_for_each(path: str, pid: int | None) -> int:
    """`verify` for fakes, all of which live in one process."""
    return zlib.crc32(path.encode())


class Refusal(Exception):
    """What QEMU answers with an error: (class, text)."""


class FakeQemu:
    """One guest behind one socket. Attributes may be changed at any time; `fault` names the way it misbehaves:

    "no-greeting", "garbage-greeting", "hangs-up": when a client connects.
    "silent" (answers nothing), "jammed" (reads nothing either), "garbage", "deep" (100,000 lists in each other),
    "endless" (10 MiB without a newline),
    "cuts" (closes in the middle of an answer), "half-closes" (sends no more, still reads): at the next command.
    """

    def __init__(self, path: Path, guest: FakeGuest, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.guest = guest
        self.clock = clock
        self.fault: str | None = None
        self.spared = {"qmp_capabilities"}
        """Commands that are answered as ever, whatever the fault."""
        self.slow_s = 0.0
        """Seconds before each answer."""
        self.lies: dict[str, Any] = {}
        """Statistics that replace the guest's, by QEMU's tag; and "last-update"."""
        self.stepped_s = 0
        """By how much the host's wall clock, by which "last-update" goes, has been set forward."""
        self.replies: dict[str, Any] = {}
        """Answers that replace QEMU's, by command."""
        self.home, self.device = "/machine/peripheral", "virtio-balloon-pci"
        """Where in QEMU's object tree the balloon device sits, as "balloon0", and of which type it is."""
        self.instead: Callable[[Any], bytes] | None = None
        """(command) -> what is sent in place of its answer, whatever that is."""
        self.knows_virtio_queries = True
        """False: older than QEMU 7.2."""
        guest.interval_s = 0  # QEMU asks for no statistics until it is told to
        self._served: tuple[dict[str, int], float | None, int | None] = ({}, None, None)
        self.commands: list[str] = []
        self.clients = 0
        self._server: asyncio.Server | None = None
        self._told_actual = guest.actual
        self._telling: asyncio.TimerHandle | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def balloon(self) -> str:
        """The balloon device's path."""
        return f"{self.home}/balloon0"

    @property
    def virtio(self) -> str:
        """The virtio device's: on virtio-mmio there is no proxy before it."""
        return self.balloon if self.device == "virtio-balloon-device" else f"{self.balloon}/virtio-backend"

    async def __aenter__(self) -> "FakeQemu":
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    def take_in(self, connection: socket.socket) -> None:
        """Serve a client that connected to a listening socket which this fake has not made."""
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader, self._serve)
        self._taken = asyncio.ensure_future(
            asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection)
        )

    async def __aexit__(self, *_: object) -> None:
        await self.quit()

    async def quit(self) -> None:
        """End as QEMU does: connections and the socket's file are gone."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._telling is not None:
            self._telling.cancel()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    def reset(self) -> None:
        """Reset the guest: QEMU serves its last statistics and its last actual until the driver is up again."""
        guest = self.guest
        self._served = (guest.reported, guest.taken_at, guest.actual)
        guest.reset(self.clock())
        self.event("RESET", guest=True, reason="guest-reset")

    def event(self, name: str, **data: object) -> None:
        """Send an event to whoever is connected."""
        for writer in self._writers:
            self._send(writer, {"event": name, "data": data, "timestamp": {"seconds": 1, "microseconds": 0}})

    def _tell_of_change(self, delay_s: float) -> None:
        """BALLOON_CHANGE as QEMU sends it: at the first step of a move, then once a second at most."""
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(delay_s, self._tell_actual)

    def _tell_actual(self) -> None:
        self._telling = None
        self.guest.advance(self.clock())
        if self.guest.actual != self._told_actual:
            self._told_actual = self.guest.actual
            self.event("BALLOON_CHANGE", actual=self.guest.actual)
            self._tell_of_change(EVENT_GAP_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._writers.add(writer)
        self.clients += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await self._greet(reader, writer)
        finally:
            self._writers.discard(writer)
            self._serving.discard(task)
            writer.transport.abort()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.fault == "hangs-up":
            return
        if self.fault == "no-greeting":
            await reader.read()
            return
        if self.fault == "garbage-greeting":
            writer.write(b"220 mail.example.org ESMTP\r\n")
        else:
            self._send(writer, GREETING)
        decoder, text = json.JSONDecoder(), ""
        while data := await reader.read(65536):
            text = (text + data.decode()).lstrip()
            while text:
                try:
                    request, end = decoder.raw_decode(text)
                except json.JSONDecodeError:
                    break
                text = text[end:].lstrip()
                await self._answer(reader, writer, request)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Any) -> None:
        command = request["execute"]
        self.commands.append(command)
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        if command not in self.spared and self.fault is not None:
            await self._misbehave(reader, writer)
            return
        if self.instead is not None:
            writer.write(self.instead(request))
            return
        try:
            reply: dict[str, Any] = {"return": self._do(command, request.get("arguments", {}))}
        except Refusal as refusal:
            reply = {"error": {"class": refusal.args[0], "desc": refusal.args[1]}}
        self._send(writer, {**reply, "id": request.get("id")})

    async def _misbehave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match self.fault:
            case "jammed":
                await asyncio.Event().wait()
            case "garbage":
                writer.write(b'{"return": \xff\xfe\n[1, 2]\n')
            case "deep":
                writer.write(b"[" * 100_000 + b"\n")
            case "endless":
                for _ in range(160):
                    writer.write(b"[" * (64 << 10))
                    await writer.drain()
            case "cuts":
                writer.write(b'{"return": {"actu')
                await writer.drain()
                raise ConnectionAbortedError
            case "half-closes":
                writer.write_eof()

    @staticmethod
    def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
        writer.write(json.dumps(message).encode() + b"\r\n")

    def _do(self, command: str, arguments: dict[str, Any]) -> Any:
        guest, now = self.guest, self.clock()
        guest.advance(now)
        if command in self.replies:
            return self.replies[command]
        if command in ("stop", "cont"):
            if guest.running is (command == "stop"):
                guest.running = command == "cont"
                self.event("RESUME" if guest.running else "STOP")
            return {}
        status = "inmigrate" if guest.incoming else "running" if guest.running else "paused"
        always: dict[str, Any] = {
            "qmp_capabilities": {},
            "query-name": {"name": guest.name} if guest.name else {},
            "query-status": {"status": status, "running": guest.running, "singlestep": False},
            "query-migrate": {"status": "active"} if guest.migrating else {},
            "query-memory-size-summary": {"base-memory": guest.max, "plugged-memory": 0},
            "qom-list": self._children(arguments.get("path", "")),
        }
        if command in always:
            return always[command]
        if not guest.has_balloon:
            raise Refusal("DeviceNotActive", "No balloon device has been activated")
        return self._do_balloon(command, arguments, now)

    def _do_balloon(self, command: str, arguments: dict[str, Any], now: float) -> Any:
        if arguments.get("path") not in (None, self.virtio if command.startswith("x-") else self.balloon):
            raise Refusal("DeviceNotFound", f"Device '{arguments['path']}' not found")
        match command:
            case "query-balloon":
                return {
                    "actual": self.guest.actual if self.guest.driver else self._served[2] or self.guest.actual
                }
            case "balloon":
                if arguments["value"] <= 0:
                    raise Refusal("GenericError", "Parameter 'target' expects a size")
                self.guest.set_target(arguments["value"], now)
                self._tell_of_change(FIRST_STEP_S)
                return {}
            case "qom-get":
                return self._property(arguments["property"])
            case "qom-set":
                return self._set_interval(arguments["value"], now)
            case "x-query-virtio-status" if self.knows_virtio_queries:
                up = bool(self.guest.driver)
                features = DEFLATES if up and self.guest.deflates_itself else []
                return {
                    "status": {"statuses": DRIVER_OK if up else []},
                    "guest-features": {"dev-features": features, "transports": []},
                }
            case "x-query-virtio-queue-status" if self.knows_virtio_queries:
                return {"last-avail-idx": self.guest.answers, "inuse": 1}
        raise Refusal("CommandNotFound", f"The command {command} has not been found")

    def _children(self, path: str) -> list[dict[str, str]]:
        children = [{"name": "type", "type": "string"}]
        if path == self.home and self.guest.has_balloon:
            children.append({"name": "balloon0", "type": f"child<{self.device}>"})
        return children

    def _property(self, name: str) -> Any:
        match name:
            case "guest-stats-polling-interval":
                return self.guest.interval_s
            case "deflate-on-oom":
                return self.guest.deflates_itself
            case "guest-stats":
                reported, taken_at = self.guest.reported, self.guest.taken_at
                if taken_at is None:
                    reported, taken_at, _ = self._served
                stats = {f"stat-{tag}": reported.get(key, MISSING) for key, tag in TAGS.items()}
                stats["stat-minor-faults"] = self.guest.answers
                last_update = 0 if taken_at is None else 1_000_000_000 + int(taken_at) + self.stepped_s
                lies = {tag: lie for tag, lie in self.lies.items() if tag != "last-update"}
                return {"stats": {**stats, **lies}, "last-update": self.lies.get("last-update", last_update)}
        raise Refusal("GenericError", f"Property '{name}' not found")

    def _set_interval(self, seconds: int, now: float) -> dict[str, Any]:
        was, self.guest.interval_s = self.guest.interval_s, seconds
        if seconds and not was:
            self.guest.take_stats(now)
        return {}
