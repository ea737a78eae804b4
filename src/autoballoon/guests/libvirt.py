"""Guests of libvirt, of one or several connections."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from autoballoon.core.model import Guest
from autoballoon.guests.hypervisor import Hypervisor, Problem, Wake, sleep_on
from autoballoon.guests.libvirt_api import load_libvirt, run_events
from autoballoon.guests.libvirt_domain import Domain
from autoballoon.guests.libvirt_link import Link
from autoballoon.guests.libvirt_meet import Terms

_START_S = 4.0
"""For the first attempts to connect; a slower libvirt is waited for while the daemon runs."""


class LibvirtHypervisor(Hypervisor):
    """The running guests of libvirt at `uris` (checked: libvirt_uri.check_uri).

    `verify(name, uuid, folders)` gives the pid of the QEMU that runs a domain, whose pid file may be in one of the
    folders, or None; `age_s(pid)` the seconds since a process began, None when it is gone. CouldNot when libvirt's
    module cannot be imported; `api` is that module in the tests. Every call to libvirt is made in a thread.
    """

    def __init__(
        self,
        uris: Sequence[str],
        *,
        verify: Callable[[str, str, Sequence[str]], int | None],
        age_s: Callable[[int], float | None],
        api: Any = None,
        patience_s: float = 2.0,
        fresh_s: float = 0.5,
        look_s: float = 0.05,
        ask_s: float = 0.05,
        backoff_s: tuple[float, float] = (0.2, 5.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._uris = tuple(dict.fromkeys(uris))
        self._api = load_libvirt() if api is None else api
        self._terms = Terms(verify, age_s, patience_s, fresh_s, look_s, ask_s, backoff_s, clock)
        self._links: dict[str, Link] = {}
        """By their URI."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake: Wake = sleep_on

    async def start(self, wake: Wake, *, wait: bool = True) -> None:
        run_events(self._api)
        self._wake = wake
        self._begin()
        first = [asyncio.create_task(link.tried.wait()) for link in self._links.values() if wait]
        if first:
            _, late = await asyncio.wait(first, timeout=_START_S)
            for task in late:
                task.cancel()

    async def look_at(self, uris: Sequence[str]) -> None:
        """Watch the guests of these URIs from now on, and no others: connections that stay go on, the others are
        let go as by `close`, and new ones are not waited for."""
        self._uris = tuple(dict.fromkeys(uris))
        self._begin()
        await self._let_go([uri for uri in self._links if uri not in self._uris])

    def _begin(self) -> None:
        """Connect where that has not begun."""
        for uri in self._uris:
            if uri not in self._links:
                self._links[uri] = Link(uri, self._api, self._terms, self._wake)
                self._tasks[uri] = asyncio.create_task(self._links[uri].run())

    async def read(self) -> list[Guest]:
        await asyncio.gather(*(link.look() for link in self._links.values()))
        now = self._terms.clock()
        return [
            domain.as_guest(link.key(uuid), now)
            for link in self._links.values()
            for uuid, domain in link.domains.items()
        ]

    async def read_one(self, key: str) -> Guest | None:
        now = self._terms.clock()
        return next((domain.as_guest(key, now) for _, domain in self._found(key)), None)

    async def ask(self, keys: frozenset[str]) -> None:
        # A slow answer still counts when it comes: nobody is cancelled when the wait is over.
        tasks = [link.asker.ask(domain) for key in keys for link, domain in self._found(key)]
        if tasks:
            await asyncio.wait(tasks, timeout=self._terms.ask_s)

    def relax(self, keys: Collection[str]) -> None:
        """All domains are read in one call: nothing is saved by leaving some out."""

    async def set_target(self, key: str, size: int) -> bool:
        for link, domain in self._found(key):
            return await link.asker.set_target(domain, size)
        return False

    async def suspend(self, key: str) -> bool | None:
        for link, domain in self._found(key):
            return await link.asker.suspend(domain)
        return None

    async def resume(self, key: str) -> bool | None:
        for link, domain in self._found(key):
            return await link.asker.resume(domain)
        return None

    def channels(self) -> dict[str, str]:
        return {
            link.key(uuid): domain.says.agent
            for link in self._links.values()
            for uuid, domain in link.domains.items()
            if domain.says.agent is not None
        }

    def problems(self) -> list[Problem]:
        return [Problem(where, says) for link in self._links.values() for where, says in link.problems()]

    async def close(self) -> None:
        await self._let_go([*self._links])

    async def _let_go(self, uris: Sequence[str]) -> None:
        """See the guests at these URIs no more; what was switched on is given back, as far as they answer."""
        links = [self._links.pop(uri) for uri in uris]
        tasks = [self._tasks.pop(uri) for uri in uris]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(link.leave() for link in links))

    def _found(self, key: str) -> list[tuple[Link, Domain]]:
        """The domain with this key and its connection, or nothing."""
        uri, _, uuid = key.rpartition("#")
        link = self._links.get(uri)
        return [(link, link.domains[uuid])] if link is not None and uuid in link.domains else []
