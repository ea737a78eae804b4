"""Guests behind QMP sockets, looked at once and changed in nothing: for `check`, and for doctor without a daemon."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from autoballoon.core.facts import GuestFacts
from autoballoon.guests.qmp_device import LOOK_FOR_DEVICE, NO_BALLOON, Device, device_in
from autoballoon.guests.qmp_meet import name_of, ram
from autoballoon.guests.qmp_wire import NotThere, Refused, Unusable, Wire, WireError, open_wire
from autoballoon.guests.stats import Nonsense, check

AT_ONCE = 16
"""Sockets that are spoken with at one time."""

Verify = Callable[[str, int | None], int | None]
Answer = TypeVar("Answer")


class NoBalloon(Unusable):
    """It is QEMU's, whose guest has no balloon device."""


async def unusable(paths: Sequence[str], timeout_s: float = 2.0) -> dict[str, Unusable]:
    """Why these sockets cannot be used; those that can, and those where nobody listens, are left out."""
    found = zip(paths, await _few_at_once(_try(path, timeout_s) for path in paths), strict=True)
    return {path: error for path, error in found if error is not None}


async def look_at_all(
    sockets: Sequence[tuple[str, str]], verify: Verify, timeout_s: float = 2.0
) -> list[GuestFacts]:
    """The guests at these (path, stem), in this order; those that are gone are left out. Nothing raises."""
    found = await _few_at_once(look(path, stem, verify, timeout_s) for path, stem in sockets)
    return [guest for guest in found if guest is not None]


async def _few_at_once(looks: Iterable[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(look: Coroutine[Any, Any, Answer]) -> Answer:
        async with slots:
            return await look

    return await asyncio.gather(*map(one, looks))


async def _try(path: str, timeout_s: float) -> Unusable | None:
    try:
        wire = await open_wire(path, timeout_s, lambda event, data: None)
    except NotThere:
        return None
    except Unusable as error:
        return error
    try:
        device = device_in(wire, await wire.run_each(*LOOK_FOR_DEVICE))
        return NoBalloon(NO_BALLOON) if device is None else None
    except WireError as error:
        return Unusable(str(error))
    finally:
        await wire.close()


async def look(path: str, stem: str, verify: Verify, timeout_s: float = 2.0) -> GuestFacts | None:
    """The guest at one socket; None when nobody listens there. Asks only what changes nothing."""
    facts = GuestFacts(key=path, name=stem)
    try:
        wire = await open_wire(path, timeout_s, lambda event, data: None)
    except NotThere:
        return None
    except WireError as error:
        return msgspec.structs.replace(facts, trouble=str(error))
    try:
        facts = msgspec.structs.replace(facts, pid=verify(path, wire.peer_pid))
        return await _ask(wire, facts)
    except WireError as error:
        return msgspec.structs.replace(facts, trouble=str(error))
    finally:
        await wire.close()


async def _ask(wire: Wire, facts: GuestFacts) -> GuestFacts:
    size = await ram(wire)
    status = await wire.run_dict("query-status")
    facts = msgspec.structs.replace(
        facts,
        name=name_of(await _unless_refused(wire, "query-name"), facts.name),
        running=status.get("running") is True,
        ram=size,
    )
    balloon = await _unless_refused(wire, "query-balloon")
    device = device_in(wire, await wire.run_each(*LOOK_FOR_DEVICE))
    if device is None or not isinstance(balloon, dict):
        return msgspec.structs.replace(facts, balloon=False)
    actual = balloon.get("actual")
    driver, deflates = await device.driver()
    may_deflate = await _property(wire, device, "deflate-on-oom")
    interval = await _property(wire, device, "guest-stats-polling-interval")
    age_s, answered = _age(await _property(wire, device, "guest-stats"), size)
    reporting = await _property(wire, device, "free-page-reporting")
    return msgspec.structs.replace(
        facts,
        balloon=True,
        device=device.path,
        actual=min(actual, size) if isinstance(actual, int) and actual >= 0 else None,
        driver=driver,
        autodeflate=deflates
        if deflates is not None
        else may_deflate
        if isinstance(may_deflate, bool)
        else None,
        reporting=reporting if isinstance(reporting, bool) else None,
        period_s=interval if isinstance(interval, int) and not isinstance(interval, bool) else None,
        age_s=age_s if interval else None,
        answered=answered if interval else None,
    )


def _age(stats: object, size: int) -> tuple[float | None, bool | None]:
    """(seconds since the last statistics, whether any ever came): by the wall clock, which QEMU's is too."""
    try:
        reading = check(stats, size)
    except Nonsense:
        return None, True
    if not reading.last_update:
        return None, False
    return max(0.0, time.time() - reading.last_update), True


async def _property(wire: Wire, device: Device, name: str) -> Any:
    return await _unless_refused(wire, "qom-get", path=device.path, property=name)


async def _unless_refused(wire: Wire, command: str, **arguments: object) -> Any:
    try:
        return await wire.run(command, **arguments)
    except Refused:
        return None
