import asyncio
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from autoballoon.cli import main
from autoballoon.core.errors import CouldNot
from autoballoon.lab import results as kept
from autoballoon.lab import runner, tidy
from autoballoon.views.lab_results import ArmResult, Machine, Results


def test_list_names_every_experiment_with_its_arms() -> None:
    said = CliRunner().invoke(main, ["lab", "list"])
    assert said.exit_code == 0
    assert "wave" in said.output and "arms yardstick, off, reporting, on, on+reporting" in said.output
    listed = msgspec.json.decode(CliRunner().invoke(main, ["lab", "list", "--json"]).output)
    assert [experiment["name"] for experiment in listed] == [
        "wave",
        "hostload",
        "peers",
        "over",
        "build",
        "driver",
        "guest-side",
        "headrooms",
    ]


def test_list_says_what_the_variants_are() -> None:
    said = CliRunner().invoke(main, ["lab", "list"]).output
    assert "arms yardstick, off, ladder, static, proxmox, mom, qmemman, squeezed\n" in said
    assert "@sizes: guests of 384, 512 and 768 MiB" in said
    assert "@1600: a host of 1600 MiB" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["waves"], "there is no experiment 'waves'"),
        (["wave", "--limit", "2600"], "write it like"),
        (["wave", "--limit", "10MiB"], "too small for any guest"),
        (["wave", "--limit", ""], "write it like"),
        (["wave", "--policy", ""], "there is no policy"),
        (["wave", "--arms", ""], "--arms names no arm"),
        (["wave", "--guests", "0"], "0 is not in the range"),
        (["wave", "--arms", "none"], "there is no arm 'none'"),
        (["wave", "--policy", "luck"], "luck"),
        (["peers", "--policy", "mom"], "--policy cannot be given to peers"),
        (["over", "--policy", "mom"], "--policy cannot be given to over"),
        (["over", "--limit", "1800MiB"], "--limit cannot be given to over"),
        (["build", "--rate", "100"], "--rate cannot be given to these arms of build"),
        (["peers", "--rate", "150", "--arms", "all"], "--rate cannot be given to yardstick@fast"),
        (["peers", "--rate", "150", "--arms", "@slow,@sizes"], "--rate cannot be given to yardstick@slow"),
        (["driver", "--rate", "100"], "--rate cannot be given to these arms of driver"),
        (["driver", "--rate", "100", "--arms", "@build,@cache"], "--rate cannot be given to these arms"),
        (["peers", "--arms", "@swift"], "there is no arm '@swift'"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_leaves_nothing(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def let_through(*_: object) -> None:
        raise AssertionError("guests would be run")

    monkeypatch.setattr(runner, "run_experiment", let_through)
    said = CliRunner().invoke(main, ["lab", "run", *words, "--out", str(tmp_path / "out")])
    assert said.exit_code == 2
    assert says in said.output
    assert said.output.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_picture_that_cannot_be_written_takes_nothing_from_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(
        experiment="wave",
        machine=Machine(cores=2, ram=1, accel="tcg", kernel="6.1", qemu="7.2", cgroup="v1"),
        command="",
        arms=[ArmResult(name="on", policy="ladder", limit=None, runs=[])],
    )

    async def ran(*_: object) -> tuple[Results, Path]:
        kept.write(tmp_path, results)
        return results, tmp_path

    monkeypatch.setattr(runner, "run_experiment", ran)
    (tmp_path / "report.html").mkdir()
    said = CliRunner().invoke(main, ["lab", "run", "wave", "--json"])
    assert said.exit_code == 3
    assert said.stderr.count("\n") == 1 and "report.html cannot be written" in said.stderr
    assert msgspec.json.decode(said.stdout, type=Results) == results


@pytest.mark.parametrize(
    ("words", "differs"),
    [
        (["wave", "--policy", "ladder", "--limit", "2000MiB", "--rounds", "3"], ()),
        (["wave", "--policy", "mom", "--period", "10"], ("--policy mom", "--period 10")),
        (["wave", "--rate", "50", "--phases", "2"], ("--rate 50", "--phases 2")),
        (["peers", "--rate", "50", "--arms", "@sizes"], ("--rate 50",)),
    ],
)
def test_a_load_or_a_policy_that_is_not_the_usual_is_kept(
    words: list[str], differs: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes: list[runner.Wish] = []

    async def end(wish: runner.Wish, _: object) -> None:
        wishes.append(wish)
        raise CouldNot("enough")

    monkeypatch.setattr(runner, "run_experiment", end)
    assert CliRunner().invoke(main, ["lab", "run", *words]).exit_code == 3
    assert [wish.differs for wish in wishes] == [differs]


@pytest.mark.parametrize(
    ("remains", "says"),
    [(False, "all that it made is removed"), (True, "the next `lab run` removes what is left")],
)
def test_a_lab_that_a_signal_ended_says_whether_all_is_removed(
    remains: bool, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(runner, "run_experiment", end)
    monkeypatch.setattr(tidy, "remains", lambda: remains)
    said = CliRunner().invoke(main, ["lab", "run", "wave"])
    assert said.exit_code == 3
    assert said.stderr == f"autoballoon: the lab was ended by a signal; {says}\n"
