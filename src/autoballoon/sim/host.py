"""The host: its RAM, its own processes, and its swap, which costs the guests time.

When guests' touched memory, QEMU's overhead and the host's own processes exceed RAM, pages go out: first what nobody
is using (freed and cold pages of guests, each in proportion), then pages in use, those longest untouched first (in
proportion to size times the time between two passes). A guest that touches what is out waits until it is in again;
one that took new memory waits until as much has gone out. Everybody shares the one device: when more is asked of it
than it can move, everybody waits longer by the same factor. When swap is full the host kills the largest QEMU.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from autoballoon.core.model import Host as Seen
from autoballoon.core.units import MIB, Portion
from autoballoon.sim.course import Course, Shape, Size, Steady
from autoballoon.sim.guest import Guest


class HostSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The host as a scenario states it."""

    ram: Size
    reserve: Portion = Portion(share=0.05)
    """The rule that policies are given."""
    overload: Literal["host-swap", "guest-swap", "suspend"] = "host-swap"
    own: Shape = Steady(size=Size(512 * MIB))
    """What its own processes hold."""
    swap: Size = Size(0)
    swap_rate: Size = Size(270 * MIB)
    """Bytes a second that its swap device moves, in and out together; so that the lab's wave without a controller
    loses about what was measured (docs/reference/simulator.md)."""


class Host:
    """A living host."""

    def __init__(self, spec: HostSpec, own: Course) -> None:
        self.spec, self.course = spec, own
        self.ram = int(spec.ram)
        self.own = own.at_any(0.0)
        self.free = float(self.ram)
        self.swap_in = self.swap_out = 0.0
        self.debt = 0.0
        """Bytes that wait to be moved although their pages are counted as gone already."""
        self.kills: list[str] = []
        self.over = 0.0
        """The most by which memory was ever wanted beyond RAM in one step, bytes."""

    def seen(self) -> Seen:
        """What a reader of /proc would find."""
        return Seen(
            capacity=self.ram,
            available=max(0, int(self.free)),
            swap_in=int(self.swap_in),
            swap_out=int(self.swap_out),
        )

    def live(self, guests: Sequence[Guest], now: float, dt: float) -> None:
        """`dt` seconds until `now`, after the guests have lived them; ends their step."""
        self.own = self.course.at(now)
        waits = self._bring_in(guests, dt)
        held = self.own + sum(guest.resident + guest.overhead(now) for guest in guests)
        self.free = self.ram - held
        if self.free < 0:
            self.over = max(self.over, -self.free)
            self._make_room(guests, now)
        for guest, wait in zip(guests, waits, strict=True):
            guest.settle(dt, wait)

    def _bring_in(self, guests: Sequence[Guest], dt: float) -> list[float]:
        """Guests touch what is out: seconds that each waits in a second of work."""
        asks = [
            g.pages.swapped_hot / g.group.pass_
            if g.pages.swapped_hot > 1 and g.running and not g.rests_now
            else 0.0
            for g in guests
        ]
        rate = self.spec.swap_rate
        moved = min(self.debt, rate * dt)
        self.debt -= moved
        if not any(asks):
            return asks
        # Each page in sends another out when RAM is full.
        ways = 2.0 if self.free <= 0 else 1.0
        left = max(rate - moved / dt, rate / 20)
        inner = [g.waits for g in guests]
        factor = _fair_factor(asks, inner, rate, left / ways)
        waits = [ask / rate * factor for ask in asks]
        for guest, ask, wait, own in zip(guests, asks, waits, inner, strict=True):
            if ask:
                comes = min(guest.pages.swapped_hot, ask * dt / (1 + wait + own))
                guest.pages.swapped_hot -= comes
                self.swap_in += comes
        return waits

    def _make_room(self, guests: Sequence[Guest], now: float) -> None:
        over = -self.free
        space = self.spec.swap - sum(g.pages.swapped for g in guests)
        if over > space and guests:
            self._kill(guests)
            held = self.own + sum(guest.resident + guest.overhead(now) for guest in guests)
            over = held - self.ram
            space = self.spec.swap - sum(g.pages.swapped for g in guests)
        over = min(over, max(0.0, space))
        if over <= 0:
            return
        out = self._page_out(guests, over)
        self.swap_out += out
        self.debt += out
        self.free += out
        grew = sum(guest.grew for guest in guests)
        if grew > 0:
            for guest in guests:
                if guest.grew > 0:
                    guest.stall_s += min(out, grew) * guest.grew / grew / self.spec.swap_rate

    def _page_out(self, guests: Sequence[Guest], size: float) -> float:
        """Bytes that went out: what nobody uses first, then what has not been touched for longest."""
        colds = [g.pages.cold for g in guests]
        total = sum(colds)
        part = min(1.0, size / total) if total > 0 else 0.0
        if part:
            for guest, cold in zip(guests, colds, strict=True):
                guest.pages.swapped_cold += cold * part
        left = size - total * part
        for _ in range(3):
            hots = [max(0.0, g.pages.hot - g.pages.swapped_hot) for g in guests]
            weights = [hot * g.group.pass_ for hot, g in zip(hots, guests, strict=True)]
            weight = sum(weights)
            if left <= 1 or weight <= 0:
                break
            wanted = left
            for guest, hot, one in zip(guests, hots, weights, strict=True):
                gone = min(hot, wanted * one / weight)
                guest.pages.swapped_hot += gone
                left -= gone
        return size - max(0.0, left)

    def _kill(self, guests: Sequence[Guest]) -> None:
        """Swap is full: the largest QEMU goes, and with it all that it held."""
        largest = max(guests, key=lambda guest: guest.resident)
        largest.killed_by_host = True
        largest.there = False
        largest.pages.clear()
        self.kills.append(largest.name)


def _fair_factor(asks: Sequence[float], inner: Sequence[float], rate: float, left: float) -> float:
    """By how much longer everybody waits so that what is brought in fits `left` bytes a second; at least 1."""

    def moved(factor: float) -> float:
        return sum(ask / (1 + own + ask / rate * factor) for ask, own in zip(asks, inner, strict=True) if ask)

    low, high = 1.0, 1.0
    if moved(1.0) <= left:
        return 1.0
    while moved(high) > left:
        high *= 4
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if moved(middle) > left else (low, middle)
    return high
