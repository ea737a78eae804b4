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
        self.undo: Callable[[Any], None] | None = None

    def close(self) -> None:
        """Blocks."""
        if self.undo is not None:
            self.undo(self.connection)
        self.connection.close()


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
        undo: Callable[[Any], None] | None = None,
    ) -> T:
        """What `work(connection)` returns. Late, Full, Lost or Refused otherwise.

        `ended` is called when the work has come back, however late, and `undo(connection)` in a thread before that
        connection is closed, however the work has ended.
        """
        try:
            lane = await self._lane(purpose)
        except BaseException:
            ended()
            raise
        lane.calls += 1
        lane.undo = undo or lane.undo

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
                lane = await self._crew.call(self._open, OPEN_S, unclaimed=self._close)
                if self._is_closed:
                    self._close(lane)
                    raise Lost("it is being left")
                self._lanes[purpose] = lane
            return lane

    def _open(self) -> _Lane:
        try:
            return _Lane((self._api.openReadOnly if self._reads_only else self._api.open)(self._uri))
        except self._api.libvirtError as error:
            raise Lost(_in_a_line(error)) from None

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
            self._close(lane)

    def _close(self, lane: _Lane) -> None:
        closing = self._crew.apart(lane.close)
        self._closing.add(closing)
        closing.add_done_callback(self._closed)

    def _closed(self, closing: "asyncio.Future[None]") -> None:
        self._closing.discard(closing)
        closing.exception()  # what is gone already needs no closing


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_SAID]
