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


def listen(api: Any, connection: Any, loop: asyncio.AbstractEventLoop, tell: Tell) -> Callable[[], None]:
    """Have `tell` called for what happens at this connection; gives what ends that. Blocks: call it in a thread."""
    kinds = {getattr(api, name): what for name, what in _LIFECYCLE.items()}

    def bring(what: str, uuid: str, number: int = 0) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, what, uuid, number)

    def lifecycle(_connection: Any, domain: Any, event: int, detail: int, _opaque: object) -> None:
        if event in kinds:
            bring(kinds[event], domain.UUIDString(), detail)

    def reboot(_connection: Any, domain: Any, _opaque: object) -> None:
        bring(RESET, domain.UUIDString())

    def balloon(_connection: Any, domain: Any, actual_kib: int, _opaque: object) -> None:
        bring(RESIZED, domain.UUIDString(), actual_kib)

    def iteration(_connection: Any, domain: Any, number: int, _opaque: object) -> None:
        bring(LEAVES, domain.UUIDString(), number)  # memory is gone through once more, or for the first time

    def closed(_connection: Any, reason: int, _opaque: object) -> None:
        bring(LOST, "", reason)

    connection.registerCloseCallback(closed, None)
    numbers = [
        connection.domainEventRegisterAny(None, event, callback, None)
        for event, callback in (
            (api.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle),
            (api.VIR_DOMAIN_EVENT_ID_REBOOT, reboot),
            (api.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, balloon),
            (api.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, iteration),
        )
    ]
    with contextlib.suppress(api.libvirtError):  # not every transport can
        connection.setKeepAlive(_KEEPALIVE_S, _KEEPALIVES)

    def stop() -> None:
        for number in numbers:
            with contextlib.suppress(api.libvirtError):
                connection.domainEventDeregisterAny(number)
        with contextlib.suppress(api.libvirtError):
            connection.unregisterCloseCallback()

    return stop
