"""Counting for /metrics: what the loop tells at each tick, kept as one frozen scene that another thread may read."""

import bisect
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from autoballoon.core.errors import CouldNot
from autoballoon.core.model import Decision, SetTarget, Snapshot
from autoballoon.core.track import Track
from autoballoon.guests.hypervisor import Problem
from autoballoon.views.metrics import LATE_S, Counts, Scene
from autoballoon.views.status import DaemonStatus

AGAIN_S = 10.0
"""Between two attempts to serve where that failed."""


class Server(Protocol):
    """Something that shows the scene; kept by daemon.metrics_server.MetricsServer."""

    def close(self) -> None: ...


class Metrics:
    """Counts while something listens; costs nothing else."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self.scene: Scene | None = None
        """As of the last tick; swapped whole, so that no reader sees half of one."""
        self._wall_clock = wall_clock
        self._address: str | None = None
        self._server: Server | None = None
        self._trouble: str | None = None
        self._again_at = 0.0
        self._ticks = self._failures = self._given = self._taken = 0
        self._decisions: Counter[tuple[str, str]] = Counter()
        self._late = [0] * (len(LATE_S) + 1)
        self._late_s = 0.0

    def begin(self, address: str | None) -> None:
        """Serve at this "ADDRESS:PORT" when the daemon starts: guests are balanced also where that fails. `problems`
        tells, and it is tried again."""
        self._address = address
        try:
            self._server, self._trouble = self._served(address), None
        except CouldNot as error:
            self._trouble = f"{error}; it is tried again"

    def listen(self, address: str | None) -> None:
        """Serve there from now on, or nowhere. CouldNot when that fails; then nothing has changed."""
        if address != self._address:
            server = self._served(address)
            self.close()
            self._address, self._server = address, server

    def problems(self) -> list[Problem]:
        """Why nothing is served, now."""
        return [] if self._trouble is None else [Problem("[metrics]", self._trouble)]

    def tick(
        self,
        daemon: DaemonStatus,
        snapshot: Snapshot,
        decisions: Sequence[Decision],
        tracks: Mapping[str, Track],
    ) -> None:
        """A tick has ended well."""
        if self._trouble is not None and daemon.tick.at_s >= self._again_at:
            self._again_at = daemon.tick.at_s + AGAIN_S
            self.begin(self._address)
        if self._server is None:
            return
        self._ticks += 1
        self._late[bisect.bisect_left(LATE_S, daemon.tick.late_s)] += 1
        self._late_s += daemon.tick.late_s
        self._decisions.update((str(one.__struct_config__.tag), one.reason.value) for one in decisions)
        if not daemon.dry_run:
            ways = [one.size - one.before for one in decisions if isinstance(one, SetTarget)]
            self._given += sum(way for way in ways if way > 0)
            self._taken -= sum(way for way in ways if way < 0)
        counts = Counts(
            ticks=self._ticks,
            failures=self._failures,
            decisions=dict(self._decisions),
            given=self._given,
            taken=self._taken,
            late=tuple(self._late),
            late_s=self._late_s,
        )
        self.scene = Scene(self._wall_clock(), daemon, snapshot, tracks, counts)

    def failed(self) -> None:
        """A tick has failed; it is shown at once, for no good one may follow."""
        self._failures += 1
        if self.scene is not None:
            counts = msgspec.structs.replace(self.scene.counts, failures=self._failures)
            self.scene = msgspec.structs.replace(self.scene, counts=counts)

    def close(self) -> None:
        """Serve nowhere any more."""
        if self._server is not None:
            self._server.close()
        self._server = self._address = self._trouble = self.scene = None

    def _served(self, address: str | None) -> Server | None:
        if address is None:
            return None
        try:
            from autoballoon.daemon.metrics_server import MetricsServer  # noqa: PLC0415  (who wants it pays)
        except ImportError:
            raise CouldNot(
                "[metrics] needs the Python package prometheus-client; "
                "in a checkout: .venv/bin/pip install '.[metrics]', or remove the table"
            ) from None
        return MetricsServer(address, lambda: self.scene)
