"""The application behind `top`: a table of guests by `watch`, and the marked guest's sizes and decisions."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import ClassVar

import msgspec
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import DataTable, Footer, Static

from autoballoon.cli.connect import LONGEST_REPLY
from autoballoon.views import explain
from autoballoon.views import top as view
from autoballoon.views.status import Status

POINTS = 160
"""Ticks that are drawn at most."""
AGAIN_S = 1.0
"""Between two attempts to reach a daemon that has left."""
EXPLAIN_EVERY_S = 2.0
SINCE_S = 3600.0


class _Reply(msgspec.Struct):
    ok: bool
    data: msgspec.Raw = msgspec.Raw(b"null")


async def talk(
    path: Path, verb: str, args: dict[str, object] | None = None
) -> AsyncGenerator[msgspec.Raw, None]:
    """What the daemon answers, line by line. OSError, ValueError or EOFError when it does not, or leaves."""
    reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_REPLY)
    try:
        request = {"v": 1, "id": 1, "do": verb, "args": args or {}}
        writer.write(msgspec.json.encode(request) + b"\n")
        while True:
            line = await reader.readline()
            if not line:
                raise EOFError
            reply = msgspec.json.decode(line, type=_Reply)
            if not reply.ok:
                raise EOFError
            yield reply.data
    finally:
        writer.close()


class Top(App[None]):
    """The application. `path` is the control socket."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "quit", "Leave")]
    CSS = """
    #head { height: auto; }
    #head.dry { color: $warning; text-style: bold; }
    #guests { height: 1fr; min-height: 5; }
    #one { height: 11; border-top: solid $primary; }
    #sparks { height: 4; }
    #decisions { height: 1fr; }
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.status: Status | None = None
        self._points: dict[str, deque[view.Point]] = {}
        self._rows: dict[str, tuple[str, ...]] = {}
        self._marked: str | None = None
        self._explained: tuple[str, list[str]] = ("", [])
        self._explain_now = asyncio.Event()

    def compose(self) -> ComposeResult:
        yield Static("asking the daemon ...", id="head", markup=False)
        yield DataTable(id="guests", cursor_type="row", zebra_stripes=False)
        with Vertical(id="one"):
            yield Static("", id="sparks", markup=False)
            yield Static("", id="decisions", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        for title in view.TITLES:
            table.add_column(title, key=title)
        self.run_worker(self._watch(), exclusive=False)
        self.run_worker(self._explain(), exclusive=False)

    async def _watch(self) -> None:
        while True:
            try:
                async with aclosing(talk(self.path, "watch")) as answers:
                    async for data in answers:
                        self.show(msgspec.json.decode(data, type=Status))
            except (OSError, EOFError, ValueError) as error:  # msgspec.DecodeError is a ValueError
                why = f" ({error})" if isinstance(error, ValueError) else ""
                self.query_one("#head", Static).update(
                    f"no daemon answers at {self.path}{why}; trying again ..."
                )
            await asyncio.sleep(AGAIN_S)

    async def _explain(self) -> None:
        """Keep the marked guest's decisions up to date."""
        while True:
            name = self._marked
            if name is not None:
                try:
                    asked: dict[str, object] = {"guest": name, "since_s": SINCE_S}
                    async with aclosing(talk(self.path, "explain", asked)) as answers:
                        told = explain.lines(explain.decode(await anext(answers)), _clock)
                    self._explained = (name, told[::-1])
                except (OSError, EOFError, ValueError):
                    self._explained = (name, [])
                self._show_marked()
            self._explain_now.clear()
            try:
                async with asyncio.timeout(EXPLAIN_EVERY_S):
                    await self._explain_now.wait()
            except TimeoutError:
                continue

    def show(self, status: Status) -> None:
        """A new tick."""
        self.status = status
        head = self.query_one("#head", Static)
        head.update("\n".join(view.head(status)))
        head.set_class(status.daemon.dry_run, "dry")
        told = {one.guest: one for one in status.decisions}
        guests = sorted(status.snapshot.guests, key=lambda guest: guest.name)
        for guest in guests:
            points = self._points.setdefault(guest.name, deque(maxlen=POINTS))
            points.append(view.point(guest, told.get(guest.name)))
        self._points = {guest.name: self._points[guest.name] for guest in guests}
        self._fill({guest.name: view.cells(guest, told.get(guest.name)) for guest in guests})
        self._show_marked()

    def _fill(self, rows: dict[str, tuple[str, ...]]) -> None:
        """Change only the cells that changed; made anew when guests come or go.

        A guest's name is no markup, and a table takes every str for some.
        """
        table = self.query_one(DataTable)
        if rows.keys() != self._rows.keys():
            marked = self._marked
            table.clear()
            for name, cells in rows.items():
                table.add_row(*map(Text, cells), key=name)
            if marked in rows:
                table.move_cursor(row=list(rows).index(marked))
            elif rows:
                self._mark(next(iter(rows)))
        else:
            for name, cells in rows.items():
                for title, new, old in zip(view.TITLES, cells, self._rows[name], strict=True):
                    if new != old:
                        table.update_cell(name, title, Text(new), update_width=True)
        self._rows = rows

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if event.row_key.value is not None and event.row_key.value in self._rows:
            self._mark(event.row_key.value)
            self._show_marked()

    def _mark(self, name: str) -> None:
        if name != self._marked:
            self._marked = name
            self._explain_now.set()

    def _show_marked(self) -> None:
        if self.status is None or self._marked is None:
            return
        guest = next((one for one in self.status.snapshot.guests if one.name == self._marked), None)
        sparks, decisions = self.query_one("#sparks", Static), self.query_one("#decisions", Static)
        if guest is None:
            sparks.update("")
            decisions.update("")
            return
        most = f"{guest.name}, of {view.short(guest.max)}:"
        width = max(40, self.size.width)
        sparks.update("\n".join([most, *view.sparks(list(self._points[guest.name]), guest.max, width)]))
        name, lines = self._explained
        decisions.update("\n".join(lines[:20]) if name == guest.name else "")


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at_s))
