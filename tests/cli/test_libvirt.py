"""What the verbs say of libvirt connections."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autoballoon.cli import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "autoballoon.toml"
    path.write_text(
        f'[connect]\nlibvirt = ["qemu:///system"]\n[control]\nsocket = "{tmp_path}/control.sock"\n'
    )
    return path


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def has_libvirt(monkeypatch: pytest.MonkeyPatch, *, there: bool) -> None:
    really = importlib.import_module

    def found(name: str, package: str | None = None) -> Any:
        if name != "libvirt":
            return really(name, package)
        if not there:
            raise ImportError("No module named 'libvirt'")
        return object()

    monkeypatch.setattr(importlib, "import_module", found)


def test_check_names_the_connections(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_libvirt(monkeypatch, there=True)
    result = call("check", config)
    assert (
        result.exit_code == 0
        and "libvirt: qemu:///system (not connected to here; doctor does)\n" in result.output
    )
    assert "no guest will be seen" not in result.output


@pytest.mark.parametrize("verb", ["check", "run"])
def test_without_the_module_one_sentence_says_how_to_get_it(
    config: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    has_libvirt(monkeypatch, there=False)
    result = call(*(("check", config) if verb == "check" else ("run", "--config", config)))
    assert result.exit_code == 3
    where = f"{config}: " if verb == "check" else ""
    assert result.output.startswith(f"autoballoon: {where}[connect] libvirt needs")
    assert "python3-libvirt" in result.output and result.output.count("\n") == 1
