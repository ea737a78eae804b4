"""`doctor` on the command line: what it prints, and its exit codes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autoballoon.cli import doctor as verb
from autoballoon.cli import main
from autoballoon.core.facts import Facts, GuestFacts, HostFacts

SOUND = Facts(HostFacts(swap=1, psi=True), configured=True)


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "autoballoon.toml"
    path.write_text(f'[control]\nsocket = "{tmp_path}/control.sock"\n')
    return path


def give(monkeypatch: pytest.MonkeyPatch, facts: Facts) -> None:
    async def gather(config: object, status: object) -> Facts:
        return facts

    monkeypatch.setattr(verb, "gather", gather)


def test_notes_and_warnings_are_no_failure(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, SOUND)
    result = call("doctor", "--config", config)
    assert result.exit_code == 0
    assert result.output.endswith("looked at the host and 0 guests, and no daemon: 1 note\n")


def test_what_cannot_work_is_exit_code_3(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(
        monkeypatch,
        Facts(HostFacts(), (GuestFacts("/a", "a", pid=1, balloon=False, kernel="6.1"),), configured=True),
    )
    result = call("doctor", "--config", config, "--json")
    assert result.exit_code == 3
    told = json.loads(result.output)
    assert (told["works"], [one["id"] for one in told["findings"]]) == (False, ["no-balloon"])


def test_bad_input_is_exit_code_2(tmp_path: Path) -> None:
    result = call("doctor", "--config", tmp_path / "none.toml")
    assert result.exit_code == 2
    assert result.output.startswith("autoballoon: ")
    assert result.output.count("\n") == 1


def test_this_machine_can_be_looked_at(config: Path) -> None:
    result = call("doctor", "--config", config, "--json")
    assert result.exit_code in (0, 3)
    assert json.loads(result.output)["facts"]["host"]["psi"] in (True, False)
