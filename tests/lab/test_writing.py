"""A disk that fills up while guests write to it."""

import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import MIB
from autoballoon.lab.writing import full_disk


def test_a_disk_on_which_guests_stand_still_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    virtually: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    left = iter([900 * MIB, MIB, MIB - 1])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(left)))
    with pytest.raises(
        CouldNot, match=r"the disk of .* is full, and guests that swap to it stand still; make room"
    ):
        virtually(full_disk(tmp_path))
    assert next(left, None) is None
