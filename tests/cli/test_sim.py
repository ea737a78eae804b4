"""`sim` as people use it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autoballoon.cli import main
from autoballoon.sim.scenario import names

MINE = """
says = "Mine."
duration = "5s"
[host]
ram = "4GiB"
[[guests]]
name = "g"
max = "1GiB"
need = "100MiB"
[[must]]
check = "stays-within"
most = "{most}"
"""


def sim(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["sim", *map(str, words)], prog_name="autoballoon")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINE.format(most="1GiB"))
    return path


def test_the_list_names_every_scenario() -> None:
    text = sim("list")
    assert text.exit_code == 0
    assert [line.split()[0] for line in text.stdout.splitlines()] == names()
    rows = json.loads(sim("list", "--json").stdout)
    assert [row["name"] for row in rows] == names()
    assert rows[0].keys() == {"name", "says", "duration_s", "guests", "must", "switches"}


def test_a_scenario_is_run_with_every_policy_and_the_oracle(mine: Path) -> None:
    done = sim("run", mine)
    assert done.exit_code == 0
    head = done.stdout.splitlines()[1].split()
    assert head[0] == "ladder"
    assert head[-1] == "oracle"
    assert {"static", "proxmox", "mom", "qmemman", "squeezed"} <= set(head)


def test_json_holds_every_number(mine: Path) -> None:
    data = json.loads(sim("run", mine, "--policy", "static,ladder", "--seed", "7", "--json").stdout)
    assert data["v"] == 1
    assert [(one["policy"], one["seed"]) for one in data["results"]] == [
        ("static", 7),
        ("ladder", 7),
        ("oracle", 7),
    ]


def test_without_the_oracle_nothing_is_compared_with_it(mine: Path) -> None:
    done = sim("run", mine, "--policy", "static,ladder", "--no-oracle")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1].split() == ["ladder", "static"]
    assert "oracle" not in done.stdout
    assert "oracle" not in done.stderr


def test_what_the_ladder_fails_is_exit_3_and_named(mine: Path) -> None:
    mine.write_text(MINE.format(most="1MiB"))
    done = sim("run", mine, "--policy", "ladder")
    assert done.exit_code == 3
    assert "does not keep what must hold" in done.stderr
    assert "mine.toml: stays-within: g has 1024 MiB" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "nothing"], "there is no scenario 'nothing'"),
        (["run", "wave", "--policy", "magic"], "there is no policy 'magic'"),
        (["run", "wave", "--policy", ","], "--policy names no policy"),
        (["run", "all", "--plot", "x.html"], "--plot draws one scenario"),
        (["run", "/nowhere/x.toml"], "cannot be read"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], says: str) -> None:
    done = sim(*words)
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_plot_is_one_page_that_needs_nothing_else(mine: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    page = tmp_path / "page.html"
    done = sim("run", mine, "--policy", "ladder", "--plot", page)
    assert done.exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert "<h1>autoballoon sim: " in text
    assert text.count("Plotly.newPlot(") >= 4
    assert '"name":"wants"' in text
    assert "src=" not in text.split("</head>")[1]


def test_a_page_that_cannot_be_written_is_exit_3(mine: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    done = sim("run", mine, "--policy", "ladder", "--plot", tmp_path / "none" / "page.html")
    assert done.exit_code == 3
    assert "cannot be written" in done.stderr
    assert "simulating" not in done.stderr  # and it is said before anything is simulated


def test_a_page_that_cannot_be_made_leaves_no_file_behind(mine: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    assert sim("run", mine, "--policy", "magic", "--plot", tmp_path / "page.html").exit_code == 2
    assert not (tmp_path / "page.html").exists()
