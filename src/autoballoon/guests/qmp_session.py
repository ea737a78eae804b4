"""One guest's QMP session: kept up, looked at once an interval, told what to do. It never delays another guest."""

import asyncio
import contextlib
import logging
from typing import Any

from autoballoon.core.units import size_text
from autoballoon.guests.follow import Follow, Looks
from autoballoon.guests.hypervisor import Wake
from autoballoon.guests.qmp_ask import Asker
from autoballoon.guests.qmp_device import NO_BALLOON, Device
from autoballoon.guests.qmp_guest import STALE_STATUS, Known
from autoballoon.guests.qmp_meet import Terms, meet, ram, read_state
from autoballoon.guests.qmp_wire import Lost, NotThere, Wire, WireError, open_wire

log = logging.getLogger(__name__)

REVIEW_S = 30.0
"""Seconds between two readings of what events announce anyway (size, driver, balloon), should one have been missed."""
REVIEW_GAP_S = 1.0
"""At least between two that events have caused: a guest's kernel can cause as many as it likes."""
PAUSED = frozenset({"paused", "prelaunch"})
"""Run states of a guest that `stop` has stopped: as it was, and after a reset."""
PLUG_EVENTS = frozenset({"ACPI_DEVICE_OST", "DEVICE_DELETED", "MEMORY_DEVICE_SIZE_CHANGE"})


class Session:
    """The guest behind one socket, as long as the socket exists."""

    def __init__(self, path: str, stem: str, terms: Terms, wake: Wake, phase: float) -> None:
        """`phase`, 0 to 1: where in the interval its looks fall, so that guests do not bunch."""
        self.path = path
        self.known: Known | None = None
        self.tried = asyncio.Event()
        """Set once the first attempt has ended well or badly."""
        self._stem = stem
        self._terms = terms
        self._wake = wake
        self._phase = phase
        self._trouble: str | None = None
        self._wire: Wire | None = None
        self._device: Device | None = None
        self._nudge = asyncio.Event()
        self._ask_lock = asyncio.Lock()
        self._status_is_stale = self._size_is_stale = self._look_now = False
        self._looks = Looks(phase, terms.interval_s, terms.calm_every_s)
        self._asker = Asker(terms.clock)
        self._balloon = Follow()

    # What the daemon asks for. Nothing here raises.

    def problems(self) -> list[str]:
        """What keeps this guest from being seen or balanced, each in one sentence."""
        if self._trouble is not None:
            kept = "; its last statistics are kept and age" if self.known is not None else ""
            return [self._trouble + kept]
        if self.known is None:
            return []
        found = []
        if not self.known.has_balloon:
            found.append(NO_BALLOON)
        if self.known.pid is None:
            found.append("its QEMU process could not be verified, so its host memory is unknown; run as root")
        if self.known.nonsense is not None:
            found.append(
                f"{self.known.nonsense}; {self.known.dropped} such readings dropped, look at its driver"
            )
        return found

    def relax(self, is_so: bool) -> None:
        """Whether this guest may be looked at less often."""
        if self._looks.relax(self._terms.clock(), is_so=is_so):
            self._nudge.set()

    async def set_target(self, size: int) -> bool:
        """Send `balloon`; False when QEMU did not take it, or it would shrink a guest that is being migrated."""
        known = self.known
        if known is None or self._device is None:
            return False
        if size < known.actual and await self._is_migrating(known):
            return False
        known.moved_at = self._terms.clock()
        if not await self._tell("balloon", value=size):
            return False
        known.set_size = min(size, known.max)
        self._follow(known.set_size)
        return True

    async def suspend(self) -> bool | None:
        """Send `stop` to a guest that runs: False when it does not, None when it did not answer."""
        status = await self._status()
        if status is None:
            return None
        return status == "running" and (True if await self._tell("stop") else None)

    async def resume(self) -> bool | None:
        """Send `cont` to a guest that is paused, or was reset since: False in any other state.

        QEMU would take `cont` after a migration too, and then two of the same guest would write to one disk.
        """
        status = await self._status()
        if status is None or status == "running":
            return None if status is None else True
        return status in PAUSED and (True if await self._tell("cont") else None)

    async def _is_migrating(self, known: Known) -> bool:
        """Whether it is being migrated, asked now where QEMU answers."""
        if self._wire is not None:
            with contextlib.suppress(WireError):
                await read_state(self._wire, known)
        return known.migrating

    async def _status(self) -> str | None:
        """QEMU's run state (qapi/run-state.json), asked now; None when it does not answer."""
        if self._wire is None:
            return None
        try:
            return str((await self._wire.run_dict("query-status")).get("status"))
        except WireError:
            return None

    async def size(self) -> int | None:
        """Where its balloon is, asked now; None when QEMU does not answer."""
        if self._wire is None or self.known is None:
            return None
        with contextlib.suppress(WireError):
            self.known.learn_actual((await self._wire.run_dict("query-balloon")).get("actual"))
            return self.known.actual
        return None

    async def ask(self) -> bool:
        """Have statistics taken now; whether they came."""
        async with self._ask_lock:
            device, known = self._device, self.known
            if device is None or known is None or self._wire is None:
                return False
            if known.driver is False or not known.running:
                return False
            try:
                return await self._asker.ask(self._wire, device, known, self._balloon.is_unsure)
            except WireError:
                return False

    async def _tell(self, command: str, **arguments: object) -> bool:
        if self._wire is None:
            return False
        try:
            await self._wire.run(command, **arguments)
        except WireError:
            return False
        return True

    async def leave(self) -> None:
        """Give back what was switched on, as far as the guest answers."""
        if self._device is not None and self.known is not None and self.known.interval_was_off:
            with contextlib.suppress(WireError):
                await self._device.set_interval(0)
            self.known.interval_was_off = False

    # The session's own task.

    async def run(self) -> None:
        """Connect, stay, connect again; until cancelled."""
        first_s, last_s = self._terms.backoff_s
        delay_s = first_s
        while True:
            try:
                await self._visit()
            except NotThere:
                self._trouble = None
                if self.known is not None:
                    name, self.known = self.known.name, None
                    self._wake(f"{name} is gone")
            except WireError as error:
                if self._trouble is None:
                    delay_s = first_s
                self._trouble = str(error)
            except Exception as error:  # the guest would be seen as it is now for ever
                self._trouble = f"could not be used ({type(error).__name__}: {error})"
                log.debug("where it failed", exc_info=True)
            if self.known is None:
                self._terms.let_go(self.path)
            self.tried.set()
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, last_s)

    async def _visit(self) -> None:
        wire = await open_wire(
            self.path, self._terms.timeout_s, self._on_event, self._waits, self._terms.queue_s
        )
        try:
            wire.when_lost(self._nudge.set)
            self.known, self._device = await meet(wire, self.path, self._stem, self._terms, self.known)
            self._wire, self._trouble = wire, None
            if self._device is not None:
                await self.ask()
            self._wake(f"{self.known.name} is seen")
            self.tried.set()
            await self._stay(wire, self.known)
        finally:
            self._wire = self._device = None
            await wire.close()

    def _waits(self, says: str) -> None:
        """We stand in the queue of a QEMU that does not greet."""
        self._trouble = says
        self.tried.set()

    async def _stay(self, wire: Wire, known: Known) -> None:
        terms = self._terms
        self._looks.looked(terms.clock())
        reviewed_at, review_at = -1e9, terms.clock() + self._phase * REVIEW_S
        while wire.is_open:
            now = terms.clock()
            if self._balloon.at is not None and now >= self._balloon.at:
                await self._follow_balloon(wire, known)
            if self._look_now or now >= self._looks.due:
                # Who was asked lately has told it all.
                wanted = self._look_now or now - known.looked_at > terms.interval_s / 2
                self._look_now = False
                self._looks.looked(now)
                if wanted:
                    await self._look(wire, known)
            if now >= (reviewed_at + REVIEW_GAP_S if self._size_is_stale else review_at):
                self._size_is_stale, reviewed_at, review_at = False, now, now + REVIEW_S
                await self._review(wire, known)
            if self._status_is_stale or self._device is None:
                self._status_is_stale = False
                await read_state(wire, known)
            due = self._looks.due if self._balloon.at is None else min(self._looks.due, self._balloon.at)
            await self._rest(min(due, reviewed_at + REVIEW_GAP_S) if self._size_is_stale else due)
        raise Lost("closed the connection; look whether its QEMU ended")

    async def _rest(self, until: float) -> None:
        # Cheaper than asyncio.timeout, which ends the wait with an exception: most waits end by time.
        delay_s = max(0.0, until - self._terms.clock())
        alarm = asyncio.get_running_loop().call_later(delay_s, self._nudge.set)
        try:
            await self._nudge.wait()
        finally:
            alarm.cancel()
        self._nudge.clear()

    async def _look(self, wire: Wire, known: Known) -> None:
        if self._device is None:
            return
        asked_at = self._terms.clock()
        (raw,) = await wire.run_all(self._device.stats)
        known.learn_stats(raw, asked_at)
        if known.driver is False:
            await self._read_driver(self._device, known)

    async def _review(self, wire: Wire, known: Known) -> None:
        size = await ram(wire)
        await read_state(wire, known)
        actual = None
        if self._device is not None:
            await self._read_driver(self._device, known)
            if known.driver is not False:
                actual = (await wire.run_dict("query-balloon")).get("actual")
        known.learn_max(size)  # with its size at once: memory that is plugged in or out changes both
        if actual is not None and known.learn_actual(actual):
            self._follow()

    async def _read_driver(self, device: Device, known: Known) -> None:
        was_up = known.driver
        known.driver, known.deflates_itself = await device.driver()
        if known.driver and was_up is False:
            self._follow(known.set_size)
            self._wake(f"{known.name}: its balloon driver is up")

    def _follow(self, target: int | None = None) -> None:
        if self.known is not None:
            self._balloon.begin(self._terms.clock(), self.known.actual, target)
            self._nudge.set()

    async def _follow_balloon(self, wire: Wire, known: Known) -> None:
        """See where the balloon is, until it has arrived or stands still."""
        if self._device is not None and known.driver is False:
            await self._read_driver(self._device, known)
            if known.driver is False:
                self._balloon.stop()
                return
        known.learn_actual((await wire.run_dict("query-balloon")).get("actual"))
        if self._balloon.looked(self._terms.clock(), known.actual) and not self._balloon.grows:
            self._wake(f"{known.name} is at {size_text(known.actual)}", freed=True)

    def _on_event(self, event: str, data: dict[str, Any]) -> None:
        known = self.known
        if known is None:
            return
        if event == "BALLOON_CHANGE":
            before = known.actual
            known.learn_event(data.get("actual"), self._terms.clock())
            self._balloon.told(self._terms.clock())
            if known.actual < before and self._balloon.at is None:
                self._follow()
            elif known.actual > before and known.actual > (known.set_size or 0):
                self._wake(f"{known.name} takes memory back by itself")
        elif event == "RESET":
            known.was_reset(self._terms.clock())
            self._balloon.stop()
            self._look_now = True
            self._wake(f"{known.name} was reset")
        elif event in ("STOP", "RESUME"):
            known.running = event == "RESUME"
            self._status_is_stale = True
            self._wake(f"{known.name} {'runs' if known.running else 'is stopped'}")
        elif event in STALE_STATUS:
            self._status_is_stale = True
        elif event in PLUG_EVENTS and not self._size_is_stale:
            self._size_is_stale = True
        else:
            return
        self._nudge.set()
