"""Orders to single domains and questions to them: each in a thread, so that none delays another."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from autoballoon.guests import libvirt_orders as orders
from autoballoon.guests.follow import Follow
from autoballoon.guests.hypervisor import Wake
from autoballoon.guests.libvirt_crew import Crew, Full, Late
from autoballoon.guests.libvirt_domain import Domain
from autoballoon.guests.libvirt_lanes import Lanes, Lost, Refused
from autoballoon.guests.libvirt_meet import Terms

T = TypeVar("T")

ORDERS = "orders"
_MOST_FOLLOWED = 4
"""Balloons that are followed at once; one look costs about 2 ms of a processor."""
_AT_ONCE = 4
"""Orders and questions under way at once, each in a thread: libvirtd works on five of one connection, and when all hang
no more threads are to hang with them."""
_LEAVE_S = 0.7


class Asker:
    """Asks domains through `lanes`, which are None while there is no connection. Nothing here raises."""

    def __init__(self, api: Any, terms: Terms, wake: Wake, crew: Crew) -> None:
        self.lanes: Lanes | None = None
        self._api = api
        self._terms = terms
        self._wake = wake
        self._crew = crew
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._followed: set[Follow] = set()
        self._asked: set[str] = set()
        self._leaving: set[str] = set()
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def late_s(self) -> float:
        """For how long libvirt may give no statistics of a domain before it counts as held: less while a call is out.

        One reading without says nothing: a question of ours may have had the domain just then.
        """
        return self._terms.patience_s / 4 if self._crew.left else self._terms.patience_s

    async def set_target(self, domain: Domain, size: int) -> bool:
        """Have the guest become `size` bytes large; False when libvirt did not take it, or it would shrink a guest that
        is being migrated."""
        size = min(size, domain.known.max)
        if size <= 0 or not domain.known.has_balloon:
            return False
        domain.known.moved_at = self._terms.clock()
        shrinks = size < domain.known.actual
        order = orders.shrink if shrinks else orders.set_size
        done = await self._tell(domain, lambda handle: order(self._api, handle, size))
        if not done:
            domain.known.migrating |= done is False
            return False
        domain.known.set_size = size
        if shrinks:
            self._follow(domain, size)
        else:  # nobody waits for a guest to take what is its own already
            domain.balloon.stop()
        return True

    async def suspend(self, domain: Domain) -> bool | None:
        """See Hypervisor.suspend."""
        done = await self._tell(domain, orders.stop)
        if done:
            domain.learn_running(False, self._terms.clock())
        return done

    async def resume(self, domain: Domain) -> bool | None:
        """See Hypervisor.resume."""
        done = await self._tell(domain, orders.go)
        if done:
            domain.learn_running(True, self._terms.clock())
        return done

    def ask(self, domain: Domain) -> asyncio.Task[object]:
        """Have statistics taken now; the task ends when they are there, or will not come."""
        return self._apart(self._ask(domain))

    def see_whether_it_stays(self, domain: Domain) -> None:
        """Learn whether a domain that was being migrated, or saved, still is; not more than once at a time."""
        if domain.uuid not in self._leaving:
            self._leaving.add(domain.uuid)
            self._apart(self._see_whether_it_stays(domain))

    def switch_on(self, domain: Domain) -> None:
        """Switch its statistics on; told by `switched_on`, unless only its owner's period is set again."""
        self._apart(self._set_period(domain, domain.period_s, self.lanes))

    async def leave(self, lanes: Lanes, domains: Iterable[Domain]) -> None:
        """Switch off again what was switched on, as far as guests answer within a bounded time."""
        ours = [self._apart(self._set_period(domain, 0, lanes)) for domain in domains if domain.switched_on]
        if ours:
            await asyncio.wait(ours, timeout=_LEAVE_S)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _set_period(self, domain: Domain, seconds: int, lanes: Lanes | None) -> None:
        done = await self._tell(domain, lambda handle: orders.set_period(self._api, handle, seconds), lanes)
        if done:
            domain.switched_on = seconds > 0 and (domain.switched_on or not domain.says.period_s)

    async def _see_whether_it_stays(self, domain: Domain) -> None:
        try:
            leaves = await self._question(domain, orders.sends_memory)
        finally:
            self._leaving.discard(domain.uuid)
        if leaves is not None:
            domain.known.migrating = leaves

    async def _ask(self, domain: Domain) -> None:
        known = domain.known
        if known.driver is False or not known.running or not known.has_balloon or domain.uuid in self._asked:
            return
        asked_at, born_at, period_s = self._terms.clock(), known.born_at, domain.period_s
        self._asked.add(domain.uuid)
        domain.is_asked = True
        try:
            told = await self._question(
                domain, lambda handle: orders.ask(self._api, handle, period_s, domain.hurry)
            )
        finally:
            self._asked.discard(domain.uuid)
        if told is None:
            return
        domain.is_asked = False
        if known.born_at == born_at:
            domain.learn_answer(told[0], asked_at, self._terms.clock(), is_fresh=told[1])

    def _follow(self, domain: Domain, target: int) -> None:
        balloon = domain.balloon
        if domain.known.driver is False:
            return
        if balloon not in self._followed:
            if len(self._followed) >= _MOST_FOLLOWED:
                return
            self._followed.add(balloon)
            self._apart(self._see_where_it_is(domain))
        balloon.begin(self._terms.clock(), domain.known.actual, target)

    async def _see_where_it_is(self, domain: Domain) -> None:
        """Ask as often as `domain.balloon` wants, until it has arrived, is not followed any more or cannot be asked."""
        balloon = domain.balloon
        try:
            while balloon.at is not None:
                asked_at = self._terms.clock()
                if asked_at < balloon.at:
                    await asyncio.sleep(balloon.at - asked_at)
                    continue  # it may have been told another size meanwhile
                told = await self._question(domain, orders.look)
                if told is None:
                    return
                domain.learn_answer(told, asked_at, self._terms.clock(), is_fresh=False)
                if balloon.looked(self._terms.clock(), domain.known.actual) and domain.has_arrived():
                    self._wake(f"{domain.known.name} is at its target", freed=True)
        finally:
            balloon.stop()
            self._followed.discard(balloon)

    async def _tell(self, domain: Domain, work: Callable[[Any], T], lanes: Lanes | None = None) -> T | None:
        """See `_call`. What its guest is to do waits for a question no longer than libvirt takes for that."""
        domain.orders += 1
        domain.hurry.set()
        try:
            async with domain.one_call, self._gate:
                return await self._call(domain, work, lanes or self.lanes)
        finally:
            domain.orders -= 1
            if not domain.orders:
                domain.hurry.clear()

    async def _question(self, domain: Domain, work: Callable[[Any], T]) -> T | None:
        """See `_call`."""
        async with domain.one_call, self._gate:
            return await self._call(domain, work, self.lanes)

    async def _call(self, domain: Domain, work: Callable[[Any], T], lanes: Lanes | None) -> T | None:
        """What `work(handle of the domain)` returns; None when it could not be asked, or does not come back."""
        if lanes is None or domain.is_held(self.late_s):
            return None
        ended = asyncio.Event()

        def over() -> None:
            if ended.is_set():
                domain.out -= 1
            ended.set()

        try:
            return await lanes.call(
                ORDERS,
                lambda connection: work(connection.lookupByUUIDString(domain.uuid)),
                self._terms.patience_s,
                over,
            )
        except Late:
            if not ended.is_set():
                domain.out += 1
                ended.set()
        except (Full, Lost, Refused):
            pass
        return None

    def _apart(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        task: asyncio.Task[object] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
