from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from autoballoon.cli import main


def test_list_names_every_experiment_with_its_arms() -> None:
    said = CliRunner().invoke(main, ["lab", "list"])
    assert said.exit_code == 0
    assert "wave" in said.output and "arms yardstick, off, reporting, on, on+reporting" in said.output
    listed = msgspec.json.decode(CliRunner().invoke(main, ["lab", "list", "--json"]).output)
    assert [experiment["name"] for experiment in listed] == ["wave", "hostload"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["waves"], "there is no experiment 'waves'"),
        (["wave", "--limit", "2600"], "write it like"),
        (["wave", "--limit", "10MiB"], "too small for any guest"),
        (["wave", "--arms", "none"], "there is no arm 'none'"),
        (["wave", "--policy", "luck"], "luck"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_leaves_nothing(
    words: list[str], says: str, tmp_path: Path
) -> None:
    said = CliRunner().invoke(main, ["lab", "run", *words, "--out", str(tmp_path / "out")])
    assert said.exit_code == 2
    assert says in said.output
    assert said.output.count("\n") == 1
    assert not (tmp_path / "out").exists()
