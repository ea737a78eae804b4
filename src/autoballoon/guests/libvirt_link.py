"""One libvirt connection URI: connected, listened to, read once a tick, connected again when it is lost."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from autoballoon.guests import libvirt_events as events
from autoballoon.guests import libvirt_orders as orders
from autoballoon.guests.hypervisor import Wake
from autoballoon.guests.libvirt_asker import ORDERS, Asker
from autoballoon.guests.libvirt_crew import Crew, Full, Late
from autoballoon.guests.libvirt_domain import Domain
from autoballoon.guests.libvirt_lanes import OPEN_S, Lanes, Lost, Refused
from autoballoon.guests.libvirt_meet import Terms, meet
from autoballoon.guests.libvirt_uri import key_of

log = logging.getLogger(__name__)

REVIEW_S = 30.0
"""Between two readings of a domain's XML, should an event have been missed: `virsh setmem --config` sends none."""
_AT_ONCE = 32
"""Domains whose XML is read in one call."""
_LISTING, _READING, _WATCHING = "listing", "reading", "watching"
_MOST_LISTINGS, _MOST_READINGS = 2, 4
"""Readings of all domains that may be out at once (one more while none is known), and readings of any kind: orders and
questions need threads too (MOST_LEFT)."""


class Link:
    """The guests of one URI, as known now. Nothing here raises for a libvirt or a QEMU that does not answer."""

    def __init__(self, uri: str, api: Any, terms: Terms, wake: Wake) -> None:
        self.uri = uri
        self.domains: dict[str, Domain] = {}
        self.tried = asyncio.Event()
        """Set once the first attempt to connect has ended well or badly."""
        self._api = api
        self._terms = terms
        self._wake = wake
        self._crew = Crew()
        self._trouble: str | None = None
        self._defect: str | None = None
        self._lost = asyncio.Event()
        self._listing: asyncio.Task[None] | None = None
        """All domains are read, and the new ones met."""
        self._listings = 0
        """Readings of all domains that have not come back."""
        self._readings = 0
        """Readings, those of all domains among them, that have not come back."""
        self._reading: asyncio.Task[None] | None = None
        """The known domains are read, because reading all takes long."""
        self._read_at = -1e9
        self._strangers: set[str] = set()
        """UUIDs of domains that libvirt has told of and no reading yet."""
        self.asker = Asker(api, terms, wake, self._crew)

    def key(self, uuid: str) -> str:
        """What identifies a domain of this URI."""
        return key_of(self.uri, uuid)

    def problems(self) -> list[tuple[str, str]]:
        """(key or URI, sentence) for all that keeps guests from being seen or balanced."""
        late_s = self.late_s
        found = []
        if self._trouble is not None:
            kept = "; its guests are kept and age" if self.domains else ""
            found.append((self.uri, f"{self._trouble}; it is tried again{kept}"))
        if self._defect is not None:
            found.append((self.uri, self._defect))
        if self._crew.left:
            full = f"; no other {what} is made until one comes back" if (what := self._stopped()) else ""
            held = [domain.known.name for domain in self.domains.values() if domain.is_held(late_s)]
            whose = f"{', '.join(sorted(held)[:5])} not answering" if held else "a hook may be at work"
            found.append((self.uri, f"{_calls(self._crew.left)} not come back ({whose}){full}"))
        for uuid, domain in self.domains.items():
            found += [(self.key(uuid), says) for says in domain.problems(late_s)]
        return found

    def _stopped(self) -> str | None:
        """What is not done any more, because too much of it has not come back."""
        if self._crew.is_full:
            return "call"
        is_late = self._readings >= _MOST_READINGS and not _under_way(self._listing, self._reading)
        return "reading" if is_late else None

    @property
    def late_s(self) -> float:
        """For how long libvirt may give no statistics of a domain: less while a call is out."""
        return self.asker.late_s

    # Connected or not.

    async def run(self) -> None:
        """Connect, stay, connect again; until cancelled."""
        first_s, last_s = self._terms.backoff_s
        wait_s = first_s
        while True:
            lanes = Lanes(self._api, self.uri, self._crew)
            try:
                await self._connect(lanes)
                wait_s = first_s
                self.tried.set()
                await self._lost.wait()
                self._trouble = "libvirt closed the connection"
            except Late:
                self._trouble = "libvirt does not answer"
            except Full:
                self._trouble = "libvirt has not answered for long"
            except (Lost, Refused) as error:
                self._trouble = f"cannot be connected to ({error}); look whether its daemon runs"
            except Exception as error:
                self._trouble = f"could not be used ({type(error).__name__}: {error})"
                log.debug("where it failed", exc_info=True)
            finally:
                self.asker.lanes = None
                await lanes.close(0.3)
            self.tried.set()
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, last_s)

    async def _connect(self, lanes: Lanes) -> None:
        self._lost.clear()
        listener = events.Listener(self._api, asyncio.get_running_loop(), self._on_news)
        await lanes.call(_WATCHING, listener.listen, self._terms.patience_s, undo=listener.stop)
        self.asker.lanes, self._trouble = lanes, None
        await self._safely(self._read_all(lanes))

    async def look(self) -> None:
        """See how all domains are, unless that was done just now; waits only shortly for a slow libvirt."""
        lanes = self.asker.lanes
        if lanes is None:
            self._forget_dead()
        elif self._terms.clock() - self._read_at >= self._terms.fresh_s:
            is_slow = self._listings > 0 or bool(_under_way(self._listing))
            most = _MOST_LISTINGS if self.domains else _MOST_LISTINGS + 1  # there is nothing else to read
            left = _MOST_READINGS - self._readings
            if left > 0 and self._listings < most and not _under_way(self._listing):
                self._listing = asyncio.create_task(self._safely(self._read_all(lanes)))
                left -= 1
            may_read = bool(self.domains or self._strangers) and not _under_way(self._reading)
            if left > 0 and is_slow and may_read:
                self._reading = asyncio.create_task(self._safely(self._read_known(lanes)))
            if tasks := _under_way(self._listing, self._reading):
                await asyncio.wait(tasks, timeout=self._terms.look_s)

    async def leave(self) -> None:
        """Give back what was switched on, as far as guests answer; `run` has been cancelled."""
        lanes = Lanes(self._api, self.uri, self._crew)
        await self.asker.leave(lanes, self.domains.values())
        await lanes.close(0.2)
        self.domains.clear()

    # Seeing.

    async def _read_all(self, lanes: Lanes) -> None:
        """Learn how all domains are, and which have come and gone."""
        asked_at = self._read_at = self._terms.clock()
        self._listings, self._readings = self._listings + 1, self._readings + 1
        strangers = frozenset(self._strangers)
        rows = await lanes.call(
            _LISTING, partial(orders.read_all, self._api), self._terms.patience_s, self._listed
        )
        unmet = self._take_in(rows, asked_at)
        self._strangers -= strangers
        for uuid in self.domains.keys() - {uuid for uuid, _, _ in rows}:
            if self.domains[uuid].seen_at < asked_at:
                self._gone(uuid)
        await self._get_to_know(lanes, unmet, asked_at)

    def _listed(self) -> None:
        self._listings -= 1
        self._was_read()

    def _was_read(self) -> None:
        self._readings -= 1

    async def _read_known(self, lanes: Lanes) -> None:
        """Learn how the known domains are while reading all takes long, and of new ones where all are read no more.

        libvirt keeps a domain locked while a hook for it runs, which may be asking us for room just then, and whoever
        reads all domains waits for that lock.
        """
        asked_at = self._read_at = self._terms.clock()
        self._readings += 1
        may_list = self._listings < _MOST_LISTINGS
        strangers = frozenset(() if may_list else self._strangers - self.domains.keys())
        self._strangers -= strangers  # one that holds up this reading is to hold up no other

        def ended() -> None:
            self._was_read()
            self._strangers |= strangers - self.domains.keys()

        read = partial(orders.read_some, self._api, [*self.domains, *strangers])
        rows = await lanes.call(_READING, read, self._terms.patience_s, ended)
        await self._get_to_know(lanes, self._take_in(rows, asked_at), asked_at)

    async def _safely(self, reading: Coroutine[Any, Any, None]) -> None:
        """`reading`, whose failures are told by `problems`."""
        try:
            await reading
        except (Late, Full, Lost):
            return  # told by what is left, or by the connection that is lost
        except Refused as error:
            self._defect = f"libvirt does not tell how its domains are ({error}); look what root may do there"
        except Exception as error:
            self._defect = f"what libvirt tells could not be read ({type(error).__name__}: {error})"
            log.debug("where it failed", exc_info=True)
        else:
            self._defect = None

    def _take_in(self, rows: Sequence[orders.Row], asked_at: float) -> dict[str, Mapping[str, object]]:
        """Learn from these rows; what is told of domains that must be met first, or again."""
        unmet: dict[str, Mapping[str, object]] = {}
        for uuid, number, record in rows:
            domain = self.domains.get(uuid)
            if domain is None or domain.number != number:
                unmet[uuid] = record
                continue
            domain.learn_row(record, asked_at, self._terms.clock())
            if domain.known.migrating:  # libvirt announces no migration that was given up
                self.asker.see_whether_it_stays(domain)
            if domain.is_stale or (asked_at - domain.reviewed_at >= REVIEW_S and len(unmet) < _AT_ONCE):
                unmet[uuid] = record
        return unmet

    async def _get_to_know(
        self, lanes: Lanes, unmet: Mapping[str, Mapping[str, object]], asked_at: float
    ) -> None:
        uuids = list(unmet)
        for begin in range(0, len(uuids), _AT_ONCE):
            some = uuids[begin : begin + _AT_ONCE]
            met = await lanes.call(ORDERS, partial(meet, self._api, self.uri, some, self._terms), OPEN_S)
            for one in met:
                known = self.domains.get(one.told.uuid)
                domain = one.as_domain(known, unmet[one.told.uuid], asked_at)
                self.domains[one.told.uuid] = domain
                self._strangers.discard(one.told.uuid)
                if known is None:
                    self._wake(f"{domain.known.name} is here")
                if domain.known.has_balloon and not one.says.period_s:
                    self.asker.switch_on(domain)

    def _forget_dead(self) -> None:
        """Without a connection only the host can tell that a guest has ended."""
        for uuid, domain in list(self.domains.items()):
            if domain.known.pid is not None and self._terms.age_s(domain.known.pid) is None:
                self._gone(uuid)

    def _gone(self, uuid: str) -> None:
        self._strangers.discard(uuid)
        domain = self.domains.pop(uuid, None)
        if domain is not None:
            self._wake(f"{domain.known.name} is gone")

    def _on_news(self, what: str, uuid: str, number: int) -> None:
        if what == events.LOST:
            self._lost.set()
            return
        domain = self.domains.get(uuid)
        if what == events.STARTED:
            self._read_at = -1e9
            self._strangers.add(uuid)
            self._wake("a guest has started")
        elif what == events.ENDED:
            self._gone(uuid)
        elif domain is None:
            return
        elif what == events.RESET:
            domain.was_reset(self._terms.clock())
            self._wake(f"{domain.known.name} was reset")
        elif what == events.RESIZED:
            self._was_resized(domain, number)
        elif what == events.LEAVES:
            if not domain.known.migrating:
                domain.known.migrating = True
                self._wake(f"{domain.known.name} is being migrated")
        elif what == events.REDEFINED:
            domain.is_stale = True
        else:
            domain.learn_running(what == events.RUNS, self._terms.clock())
            self._wake(f"{domain.known.name} {'runs' if domain.known.running else 'is stopped'}")

    def _was_resized(self, domain: Domain, size_kib: int) -> None:
        before, now = domain.known.actual, self._terms.clock()
        domain.learn_size(size_kib, now, is_event=True)
        after = domain.known.actual
        if after < before and domain.has_arrived():
            domain.balloon.looked(now, after)
            self._wake(f"{domain.known.name} is at its target", freed=True)
        elif after > before and after > (domain.known.set_size or 0):
            self._wake(f"{domain.known.name} takes memory back by itself")


def _under_way(*tasks: asyncio.Task[None] | None) -> list[asyncio.Task[None]]:
    return [task for task in tasks if task is not None and not task.done()]


def _calls(left: int) -> str:
    return "1 call to libvirt has" if left == 1 else f"{left} calls to libvirt have"
