"""GET /metrics in the text format of Prometheus, from one thread: whoever asks, however often, delays no tick.

One request at a time, for a bounded time; the text is made once for each tick that is asked for.
"""

import io
import socket
import socketserver
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from autoballoon.core.errors import CouldNot
from autoballoon.daemon.config import address_of
from autoballoon.host.apart import begin
from autoballoon.views.metrics import METRICS, Scene, lateness

PATIENCE_S = 2.0
"""For all that one client sends and takes: the next waits meanwhile."""
_LOOK_S = 0.1
"""Between two looks at whether it is closed, while nobody asks."""
_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_KINDS: dict[str, type[GaugeMetricFamily | CounterMetricFamily]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
}

Start = Callable[[str, list[tuple[str, str]]], Any]


def exposition(scene: Scene) -> bytes:
    """The scene in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(scene))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def collect(self) -> Iterator[Metric]:
        for metric in METRICS:
            time.sleep(
                0
            )  # the loop need not wait until it is this thread's turn to let go of the interpreter
            if metric.kind == "histogram":
                buckets, total_s = lateness(self._scene.counts)
                yield HistogramMetricFamily(metric.name, metric.says, buckets=buckets, sum_value=total_s)
                continue
            family = _KINDS[metric.kind](metric.name, metric.says, labels=metric.labels)
            for labels, value in metric.read(self._scene):
                if value is not None:
                    family.add_metric(labels, value)
            yield family


class MetricsServer:
    """Serves until it is closed. CouldNot when the address cannot be had, or no thread."""

    def __init__(self, address: str, scene: Callable[[], Scene | None]) -> None:
        host, port = address_of(address)
        self._scene = scene
        self._made: tuple[Scene, bytes] | None = None
        kind = _Server6 if host.version == 6 else _Server
        try:
            self._server = kind((str(host), port), _Quiet)
        except OSError as error:
            raise CouldNot(
                f"[metrics] listen: cannot listen on {address} ({error.strerror}); choose another address or port"
            ) from None
        self._server.set_app(self._answer)
        self._server.timeout = _LOOK_S
        self.port: int = self._server.server_address[1]
        self._is_closed = False
        try:
            begin(self._serve, "metrics")
        except CouldNot:
            self._server.server_close()
            raise

    def close(self) -> None:
        """Stop listening, soon: the loop does not wait for a request that is being answered."""
        self._is_closed = True

    def _serve(self) -> None:
        with self._server:
            while not self._is_closed:
                self._server.handle_request()

    def _answer(self, request: dict[str, Any], start: Start) -> Iterable[bytes]:
        scene = self._scene()
        if request.get("PATH_INFO") not in ("/", "/metrics"):
            return _said(start, "404 Not Found", "ask for /metrics\n")
        if request.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            return _said(start, "405 Method Not Allowed", "GET it\n")
        if scene is None:
            return _said(start, "503 Service Unavailable", "the first tick has not ended yet\n")
        if self._made is None or self._made[0] is not scene:
            self._made = (scene, exposition(scene))
        text = self._made[1]
        start("200 OK", [("Content-Type", _TYPE), ("Content-Length", str(len(text)))])
        return [text] if request.get("REQUEST_METHOD") == "GET" else []


def _said(start: Start, status: str, text: str) -> list[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]


class _InTime(io.RawIOBase):
    """What a client sends until a deadline, however it comes; TimeoutError after it. What is sent back then has the
    rest of the time."""

    def __init__(self, client: socket.socket, until: float, clock: Callable[[], float]) -> None:
        self._client = client
        self._until = until
        self._clock = clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._until - self._clock()
        if left_s <= 0:
            raise TimeoutError
        self._client.settimeout(left_s)
        return self._client.recv_into(buffer)


class _Taken(io.BufferedIOBase):
    """What a client takes. One that is gone or too slow has hung up: of anything else wsgiref prints a traceback."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            self._client.sendall(data)
        except OSError:
            raise ConnectionAbortedError from None
        return len(data)


class _Quiet(WSGIRequestHandler):
    timeout: ClassVar[float] = PATIENCE_S
    clock = staticmethod(time.monotonic)

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_InTime(self.connection, self.clock() + self.timeout, self.clock))
        self.wfile = _Taken(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # gone, or too slow
            self.close_connection = True


class _Server(WSGIServer):
    allow_reuse_address = True

    def server_bind(self) -> None:
        # As HTTPServer's, but without asking the name server for our name, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "autoballoon", self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Server6(_Server):
    address_family = socket.AF_INET6
