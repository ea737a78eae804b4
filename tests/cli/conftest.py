"""Verbs are run in the tests' own process, and are to leave it as it was."""

import gc
from collections.abc import Iterator

import pytest

from autoballoon.cli import serve


@pytest.fixture(autouse=True)
def nothing_of_a_daemon_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`run` goes before all others and collects garbage seldom: for the rest of its process, which is pytest's here."""
    monkeypatch.setattr(serve, "_go_before_guests", lambda: None)
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()
