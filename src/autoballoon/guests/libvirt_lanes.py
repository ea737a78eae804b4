"""The connections of one libvirt URI: a call that does not come back keeps its own, and the next gets a new one."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from autoballoon.guests.libvirt_crew import Crew, Late

T = TypeVar("T")

OPEN_S = 10.0
"""For opening a connection: libvirtd may first have to find out what its QEMU can do (7 s, once)."""
_SAID = 200


class Lost(Exception):
    """There is no connection; the text is libvirt's reason."""


class Refused(Exception):
    """libvirt could not do what was asked; the text is its reason."""


class _Lane:
    """One connection and how many calls are on it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.calls = 0
        self.is_over = False


class Lanes:
    """Connections by what they are for; each is opened when it is first needed.

    libvirtd works on five requests of one connection at a time, so calls that hang must not share one with others.
    """

    def __init__(self, api: Any, uri: str, crew: Crew, *, reads_only: bool = False) -> None:
        self._api = api
        self._reads_only = reads_only
        self._uri = uri
        self._crew = crew
        self._lanes: dict[str, _Lane] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._closing: set[asyncio.Future[None]] = set()
        self._is_closed = False

    async def call(
        self,
        purpose: str,
        work: Callable[[Any], T],
        patience_s: float,
        ended: Callable[[], None] = lambda: None,
    ) -> T:
        """What `work(connection)` returns. Late, Full, Lost or Refused otherwise.

        `ended` is called when the work has come back, however late.
        """
        try:
            lane = await self._lane(purpose)
        except BaseException:
            ended()
            raise
        lane.calls += 1

        def over() -> None:
            lane.calls -= 1
            self._close_if_over(lane)
            ended()

        try:
            return await self._crew.call(lambda: self._translated(work, lane.connection), patience_s, over)
        except (Late, Lost):
            self._drop(purpose, lane)
            raise

    async def close(self, patience_s: float) -> None:
        """Close every connection, those with a call on it when that has come back."""
        self._is_closed = True
        for purpose, lane in list(self._lanes.items()):
            self._drop(purpose, lane)
        if self._closing:
            await asyncio.wait(self._closing, timeout=patience_s)

    async def _lane(self, purpose: str) -> _Lane:
        async with self._opening.setdefault(purpose, asyncio.Lock()):
            if self._is_closed:
                raise Lost("it is being left")
            lane = self._lanes.get(purpose)
            if lane is None:
                connection = await self._crew.call(self._open, OPEN_S)
                lane = self._lanes[purpose] = _Lane(connection)
            return lane

    def _open(self) -> Any:
        try:
            connection = (self._api.openReadOnly if self._reads_only else self._api.open)(self._uri)
        except self._api.libvirtError as error:
            raise Lost(_in_a_line(error)) from None
        if self._is_closed:  # nobody waits any more who would close it
            connection.close()
            raise Lost("it is being left")
        return connection

    def _translated(self, work: Callable[[Any], T], connection: Any) -> T:
        try:
            return work(connection)
        except self._api.libvirtError as error:
            if connection.isAlive():
                raise Refused(_in_a_line(error)) from None
            raise Lost(_in_a_line(error)) from None

    def _drop(self, purpose: str, lane: _Lane) -> None:
        if self._lanes.get(purpose) is lane:
            del self._lanes[purpose]
        if not lane.is_over:
            lane.is_over = True
            self._close_if_over(lane)

    def _close_if_over(self, lane: _Lane) -> None:
        if lane.is_over and not lane.calls:
            closing = self._crew.apart(lane.connection.close)
            self._closing.add(closing)
            closing.add_done_callback(self._closed)

    def _closed(self, closing: "asyncio.Future[None]") -> None:
        self._closing.discard(closing)
        closing.exception()  # what is gone already needs no closing


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_SAID]
