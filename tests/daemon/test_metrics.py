"""Counting, and the server beside the loop: it shows the last tick, bounds its clients and gives its port back."""

import builtins
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.model import Guest, Host, Reason, SetTarget, Snapshot, Stay
from autoballoon.core.pool import Account
from autoballoon.core.track import Health, Track
from autoballoon.core.units import GIB, MIB
from autoballoon.daemon import metrics_server
from autoballoon.daemon.metrics import AGAIN_S, Metrics
from autoballoon.daemon.metrics_server import PATIENCE_S, MetricsServer, _Quiet, exposition
from autoballoon.views.metrics import Scene
from autoballoon.views.status import DaemonStatus, Tick, books

ACCOUNT = Account(capacity=GIB, available=MIB, reserve=0, other=0, pool=GIB, charges=0)
DAEMON = DaemonStatus("0.1", 9, "ladder", False, 1.0, 10.0, Tick(1, "interval", 0.03, 0.002), books(ACCOUNT))
MOVES = (
    SetTarget("/a", "a", Reason.NEED, {}, before=100 * MIB, size=130 * MIB),
    SetTarget("/b", "b", Reason.TAKE_SURPLUS, {}, before=100 * MIB, size=80 * MIB),
    Stay("/c", "c", Reason.SETTLED, {}, size=5),
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def snapshot(*names: str) -> Snapshot:
    return Snapshot(
        Host(GIB, MIB, swap_in=4096), tuple(Guest(f"/{n}", n, GIB, GIB, resident=7) for n in names)
    )


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """A server ends in the background; the next test may count open files."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("metrics"):
            thread.join(5)
            assert not thread.is_alive()


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Metrics(wall_clock=lambda: 1e9)
    made.listen(f"127.0.0.1:{free_port()}")
    yield made
    made.close()


def tick(metrics: Metrics, *names: str, daemon: DaemonStatus = DAEMON) -> None:
    tracks = {f"/{name}": Track(GIB, GIB, GIB, Health.OK) for name in names}
    metrics.tick(daemon, snapshot(*names), MOVES, tracks)


def shown(scene: Scene | None) -> dict[str, float]:
    assert scene is not None
    lines = exposition(scene).decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (one.rpartition(" ") for one in lines if not one.startswith("#"))
    }


def test_ticks_decisions_and_bytes_are_counted(metrics: Metrics) -> None:
    tick(metrics, "a")
    tick(metrics, "a")
    values = shown(metrics.scene)
    assert values["autoballoon_ticks_total"] == 2
    assert values['autoballoon_decisions_total{kind="set-target",reason="need"}'] == 2
    assert values['autoballoon_decisions_total{kind="stay",reason="settled"}'] == 2
    assert values['autoballoon_moved_bytes_total{direction="given"}'] == 60 * MIB
    assert values['autoballoon_moved_bytes_total{direction="taken"}'] == 40 * MIB
    assert values['autoballoon_tick_lateness_seconds_bucket{le="0.025"}'] == 0
    assert values['autoballoon_tick_lateness_seconds_bucket{le="0.05"}'] == 2
    assert values["autoballoon_tick_lateness_seconds_count"] == 2
    assert values['autoballoon_guest_resident_bytes{guest="a"}'] == 7
    assert values["autoballoon_last_tick_timestamp_seconds"] == 1e9
    assert values["autoballoon_host_swap_in_bytes_total"] == 4096
    assert "autoballoon_host_swap_out_bytes_total" not in values  # unknown


def test_a_dry_run_moves_no_bytes_and_says_so(metrics: Metrics) -> None:
    tick(metrics, daemon=msgspec.structs.replace(DAEMON, dry_run=True))
    values = shown(metrics.scene)
    assert values["autoballoon_dry_run"] == 1
    assert values['autoballoon_moved_bytes_total{direction="given"}'] == 0


def test_a_guest_that_vanished_is_dropped(metrics: Metrics) -> None:
    tick(metrics, "a", "b")
    tick(metrics, "b")
    names = [name for name in shown(metrics.scene) if 'guest="' in name]
    assert names
    assert all('guest="b"' in name for name in names)


def test_a_name_cannot_break_the_text(metrics: Metrics) -> None:
    tick(metrics, 'a"}\n# HELP x')
    assert 'autoballoon_guest_max_bytes{guest="a\\"}\\n# HELP x"}' in shown(metrics.scene)


def test_failed_ticks_are_shown_at_once(metrics: Metrics) -> None:
    tick(metrics)
    metrics.failed()
    assert shown(metrics.scene)["autoballoon_tick_failures_total"] == 1


def test_where_nothing_listens_nothing_is_kept() -> None:
    metrics = Metrics()
    tick(metrics, "a")
    assert metrics.scene is None


def get(port: int, path: str = "/metrics", method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def server(metrics: Metrics) -> Iterator[MetricsServer]:
    made = MetricsServer(f"127.0.0.1:{free_port()}", lambda: metrics.scene)
    yield made
    made.close()


def test_it_is_served(metrics: Metrics, server: MetricsServer) -> None:
    assert get(server.port)[0] == 503
    tick(metrics, "a")
    status, text = get(server.port)
    assert status == 200
    assert b"\nautoballoon_ticks_total 1.0\n" in text
    assert get(server.port, method="HEAD") == (200, b"")
    assert get(server.port, "/etc/passwd")[0] == 404
    assert get(server.port, method="POST")[0] == 405


def test_the_text_is_made_once_a_tick(
    metrics: Metrics, server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Scene] = []

    def make(scene: Scene) -> bytes:
        made.append(scene)
        return b""

    monkeypatch.setattr(metrics_server, "exposition", make)
    tick(metrics)
    get(server.port)
    get(server.port)
    tick(metrics)
    get(server.port)
    assert len(made) == 2


def test_who_says_nothing_is_hung_up_on(
    metrics: Metrics, server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Quiet, "timeout", 0.05)
    tick(metrics)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as silent:
        assert get(server.port)[0] == 200
        assert silent.recv(100) == b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as rude:
        rude.sendall(b"\x00\xff" * 50_000 + b"\r\n\r\n")
        assert get(server.port)[0] == 200


def test_who_takes_nothing_is_hung_up_on_without_a_word(
    metrics: Metrics,
    server: MetricsServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_Quiet, "timeout", 0.05)
    monkeypatch.setattr(metrics_server, "exposition", lambda scene: bytes(64 << 20))  # more than sockets hold
    tick(metrics)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as full:
        full.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert get(server.port, "/else")[0] == 404, "the next is served"
    assert capsys.readouterr().err == ""


def test_who_sends_byte_after_byte_has_no_more_time_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()

    class Trickle(socket.socket):
        """The server's end: whenever it is read, one byte has come, and half a second has passed."""

        sent = 0

        def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
            self.sent += 1
            theirs.sendall(b"x")
            return super().recv_into(buffer, nbytes, flags)

    with theirs, Trickle(fileno=ours.detach()) as client:
        monkeypatch.setattr(_Quiet, "clock", staticmethod(lambda: client.sent / 2))
        nobody: Any = None
        _Quiet(client, ("127.0.0.1", 1), nobody)
        assert client.sent == 2 * PATIENCE_S


def test_an_address_that_is_taken_is_one_sentence(server: MetricsServer) -> None:
    metrics = Metrics()
    with pytest.raises(
        CouldNot, match=r"^\[metrics\] listen: cannot listen on 127\.0\.0\.1:\d+ \(Address already"
    ):
        metrics.listen(f"127.0.0.1:{server.port}")


def test_a_daemon_that_starts_where_the_address_is_taken_serves_when_it_is_free() -> None:
    metrics = Metrics()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        metrics.begin(f"127.0.0.1:{port}")
        (problem,) = metrics.problems()
        assert problem.where == "[metrics]" and "cannot listen" in problem.says
        metrics.listen(f"127.0.0.1:{port}")  # a reload that changes something else is not refused for it
        tick(metrics, daemon=at(1.0))
        assert metrics.problems()
    tick(metrics, daemon=at(1.0 + AGAIN_S / 2))
    assert metrics.problems(), "it is not tried all the time"
    tick(metrics, daemon=at(1.0 + AGAIN_S))
    assert not metrics.problems()
    assert get(port)[0] == 200
    metrics.close()


def test_without_a_thread_it_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    metrics, port = Metrics(), free_port()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        metrics.begin(f"127.0.0.1:{port}")
    (problem,) = metrics.problems()
    assert problem.says.startswith("no thread could be started (can't start new thread); raise TasksMax")
    tick(metrics, daemon=at(1.0))
    assert not metrics.problems(), "nothing else listens there"
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        metrics.close()


def at(now: float) -> DaemonStatus:
    return msgspec.structs.replace(DAEMON, tick=msgspec.structs.replace(DAEMON.tick, at_s=now))


def test_the_port_is_given_back(metrics: Metrics) -> None:
    port = free_port()
    metrics.listen(f"127.0.0.1:{port}")
    metrics.listen(None)
    for _ in range(500):
        try:
            MetricsServer(f"127.0.0.1:{port}", lambda: None).close()
            break
        except CouldNot:
            time.sleep(0.005)
    else:
        pytest.fail("the port is still taken")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    really = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.endswith("metrics_server"):
            raise ImportError(name)
        return really(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CouldNot, match="prometheus-client; in a checkout"):
        Metrics().listen("127.0.0.1:9177")
