"""`top` as it is drawn, driven by textual's pilot; and what it says where it cannot run."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("textual")

from textual.widgets import DataTable, Static

from autoballoon.cli import top_app
from autoballoon.cli.top_app import Top
from autoballoon.core.model import Guest, Host, Snapshot
from autoballoon.core.units import MIB
from autoballoon.daemon.control import Board, ControlServer
from autoballoon.daemon.lock import ControlSocket
from autoballoon.daemon.operator import ExplainArgs
from autoballoon.daemon.protocol import Verb
from autoballoon.views.explain import Entry, Explained
from autoballoon.views.status import Status, encode
from tests.cli.test_verbs import call
from tests.views.test_status import DAEMON, STATUS


def status(*names: str, dry: bool = False, size: int = 300 * MIB) -> Status:
    guests = tuple(Guest(f"/run/{name}", name, 512 * MIB, size, available=100 * MIB) for name in names)
    daemon = msgspec.structs.replace(DAEMON, dry_run=dry)
    return msgspec.structs.replace(STATUS, daemon=daemon, snapshot=Snapshot(Host(2600 * MIB, 0), guests))


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Board]:
    """A control socket that tells what is put on the board."""

    def explained(args: ExplainArgs) -> Explained:
        return Explained((Entry.of_order(args.guest or "", f"hold {args.guest}", 1.7e9),))

    control = ControlSocket(folder / "control.sock")
    board = Board()
    server = ControlServer(board, {"explain": Verb(ExplainArgs, explained)})
    await server.start(control.listener)
    try:
        yield board
    finally:
        await server.close()
        control.close()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - it is drawn when it is drawn
            await asyncio.sleep(0.01)


def text(app: Top, name: str) -> str:
    return str(app.query_one(f"#{name}", Static).render())


async def test_it_shows_each_tick_and_the_marked_guest_and_leaves_by_q(tmp_path: Path) -> None:
    async with served(tmp_path) as board:
        app = Top(tmp_path / "control.sock")
        async with app.run_test(size=(80, 24)) as pilot:
            table = app.query_one(DataTable)

            def put(*names: str, dry: bool = False, size: int = 300 * MIB) -> bool:
                board.put(lambda: encode(status(*names, dry=dry, size=size)))
                return table.row_count == len(names) and app.status is not None

            await until(lambda: put("web-1", "web-2", dry=True))
            await pilot.pause()
            assert text(app, "head").startswith("DRY RUN: nothing is moved\n")
            assert str(table.get_row("web-2")[1]) == "300M"
            await until(lambda: "hold web-1" in text(app, "decisions"))
            assert text(app, "sparks").startswith("web-1, of 512M:\ntarget ▅")
            await pilot.press("down")
            await until(lambda: "hold web-2" in text(app, "decisions"))
            assert text(app, "sparks").startswith("web-2")
            await until(
                lambda: put("web-1", "web-2", size=200 * MIB) and str(table.get_row("web-2")[1]) == "200M"
            )
            assert text(app, "head").startswith("host 2600 MiB")
            await until(lambda: put("web-0", "web-1", "web-2"))
            await pilot.pause()
            assert text(app, "sparks").startswith("web-2")  # the mark stays on its guest
            await until(put)
            await pilot.pause()
            assert text(app, "sparks") == ""
            for widget in app.query("*"):
                assert widget.region.bottom <= 24
            await pilot.press("q")
        assert app.return_value is None
        assert not app.is_running


async def test_a_guests_name_is_no_markup(tmp_path: Path) -> None:
    names = ("web[/a]", "web[red]1")
    async with served(tmp_path) as board:
        app = Top(tmp_path / "control.sock")
        async with app.run_test(size=(80, 24)) as pilot:
            table = app.query_one(DataTable)
            for size in (300 * MIB, 200 * MIB):

                def put(size: int = size) -> bool:
                    board.put(lambda: encode(status(*names, size=size)))
                    shown = f"{size // MIB}M"
                    return table.row_count == 2 and str(table.get_row(names[1])[1]) == shown

                await until(put)
            await pilot.pause()
            drawn = app.export_screenshot()
            assert "web[/a]" in drawn
            assert "web[red]1" in drawn
            assert text(app, "sparks").startswith("web[/a], of 512M:")


async def test_it_waits_for_a_daemon_that_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_app, "AGAIN_S", 0.1)  # a slow machine has to draw in between
    app = Top(tmp_path / "control.sock")
    async with app.run_test(size=(80, 24)):
        await until(lambda: "no daemon answers at" in text(app, "head"))
        async with served(tmp_path) as board:

            def put() -> bool:
                board.put(lambda: encode(status("web-1")))
                return app.status is not None

            await until(put)
            await until(lambda: "no daemon" not in text(app, "head"))


def test_without_textual_it_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "autoballoon.cli.top_app", raising=False)
    monkeypatch.setitem(sys.modules, "textual.app", None)
    result = call("top", "--socket", tmp_path / "none.sock")
    assert result.exit_code == 3
    assert result.output == (
        "autoballoon: top needs textual; in a checkout: .venv/bin/pip install '.[tui]'\n"
    )


def test_on_no_terminal_it_is_one_sentence(tmp_path: Path) -> None:
    result = call("top", "--socket", tmp_path / "none.sock")
    assert result.exit_code == 3
    assert (
        result.output == "autoballoon: top draws on a terminal, and this is none; use `autoballoon status`\n"
    )
