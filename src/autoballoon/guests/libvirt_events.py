"""What libvirt tells by itself, brought from its thread into the event loop."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

Tell = Callable[[str, str, int], None]
"""(what happened, the domain's UUID, a number that belongs to it); called in the event loop."""

STARTED, ENDED, PAUSED, RUNS, REDEFINED = "started", "ended", "paused", "runs", "redefined"
RESET, RESIZED, LEAVES = "reset", "resized", "leaves"
LOST = "lost"
"""The connection has been closed from the other side; it has no domain."""

_LIFECYCLE = {
    "VIR_DOMAIN_EVENT_DEFINED": REDEFINED,
    "VIR_DOMAIN_EVENT_STARTED": STARTED,
    "VIR_DOMAIN_EVENT_SUSPENDED": PAUSED,
    "VIR_DOMAIN_EVENT_RESUMED": RUNS,
    "VIR_DOMAIN_EVENT_STOPPED": ENDED,
    "VIR_DOMAIN_EVENT_CRASHED": PAUSED,
    "VIR_DOMAIN_EVENT_PMSUSPENDED": PAUSED,
}
"""The end of a migration shows in these: its source is suspended and then stopped, its destination started and resumed.
"""
_KEEPALIVE_S, _KEEPALIVES = 5, 3
"""A libvirtd that has not answered three times counts as lost."""


class Listener:
    """Has `tell` called in `loop` for what happens at one connection. Both methods block: call them in a thread."""

    def __init__(self, api: Any, loop: asyncio.AbstractEventLoop, tell: Tell) -> None:
        self._api = api
        self._loop = loop
        self._tell = tell
        self._kinds = {getattr(api, name): what for name, what in _LIFECYCLE.items()}
        self._numbers: list[int] = []

    def listen(self, connection: Any) -> None:
        """Begin; what fails half-way has begun too."""
        connection.registerCloseCallback(self._on_close, None)
        for event, callback in (
            (self._api.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
            (self._api.VIR_DOMAIN_EVENT_ID_REBOOT, self._on_reboot),
            (self._api.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, self._on_balloon),
            (self._api.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, self._on_iteration),
        ):
            self._numbers.append(connection.domainEventRegisterAny(None, event, callback, None))
        with contextlib.suppress(self._api.libvirtError):  # not every transport can
            connection.setKeepAlive(_KEEPALIVE_S, _KEEPALIVES)

    def stop(self, connection: Any) -> None:
        """End all that has begun: a connection with callbacks stays open, whoever closes it."""
        for number in self._numbers:
            with contextlib.suppress(self._api.libvirtError):
                connection.domainEventDeregisterAny(number)
        with contextlib.suppress(self._api.libvirtError):
            connection.unregisterCloseCallback()

    def _bring(self, what: str, uuid: str, number: int = 0) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._tell, what, uuid, number)

    def _on_lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: object) -> None:
        if event in self._kinds:
            self._bring(self._kinds[event], domain.UUIDString(), detail)

    def _on_reboot(self, _connection: Any, domain: Any, _opaque: object) -> None:
        self._bring(RESET, domain.UUIDString())

    def _on_balloon(self, _connection: Any, domain: Any, actual_kib: int, _opaque: object) -> None:
        self._bring(RESIZED, domain.UUIDString(), actual_kib)

    def _on_iteration(self, _connection: Any, domain: Any, number: int, _opaque: object) -> None:
        # Memory is gone through once more, or for the first time.
        self._bring(LEAVES, domain.UUIDString(), number)

    def _on_close(self, _connection: Any, reason: int, _opaque: object) -> None:
        self._bring(LOST, "", reason)
