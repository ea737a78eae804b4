"""`make soak`: its time goes to every kind of test, in shares that do not depend on how long one run takes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATE = '#!/bin/sh\ncat "$CLOCK"\n'
PYTHON = """#!/bin/sh
case "$*" in *"not lab"*) took=$PROPERTY ;; *"not alone"*) took=$GUESTS ;; *) took=$ALONE ;; esac
echo $(($(cat "$CLOCK") + took)) > "$CLOCK"
echo "$*" >> "$CLOCK.runs"
[ $took -gt 0 ]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the script beside a Python that runs no test, and a `date` that says how long it would have taken."""
    for name, text in (("bin/date", DATE), (".venv/bin/python", PYTHON)):
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
        file.chmod(0o755)
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/soak", tmp_path / "tools")
    (tmp_path / "clock").write_text("1000000")
    return tmp_path


def soak(folder: Path, minutes: int, **took: int) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """What it said, and pytest's words of each run."""
    clock = folder / "clock"
    env = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "CLOCK": str(clock)}
    command = [f"{folder}/tools/soak", str(minutes)]
    env |= {kind: str(seconds) for kind, seconds in took.items()}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return done, Path(f"{clock}.runs").read_text().splitlines()


def test_every_kind_has_its_share_of_the_time(folder: Path) -> None:
    took = {"PROPERTY": 70, "GUESTS": 400, "ALONE": 250}
    done, runs = soak(folder, 60, **took)
    assert done.returncode == 0, done.stderr
    spent = dict.fromkeys(took, 0)
    for words in runs:
        kind = "PROPERTY" if "not lab" in words else "GUESTS" if "not alone" in words else "ALONE"
        spent[kind] += took[kind]
    assert 3600 <= sum(spent.values()) < 3600 + max(took.values())
    assert max(spent.values()) - min(spent.values()) <= max(took.values())


def test_every_kind_runs_once_however_short_the_time(folder: Path) -> None:
    done, runs = soak(folder, 1, PROPERTY=3000, GUESTS=400, ALONE=200)
    assert done.returncode == 0
    assert [words.split("-m ")[2].split(" -")[0] for words in runs] == [
        "not lab",
        "lab and not alone",
        "lab and alone",
    ]


def test_a_failure_ends_it(folder: Path) -> None:
    done, runs = soak(folder, 60, PROPERTY=70, GUESTS=0, ALONE=200)
    assert done.returncode == 1
    assert len(runs) == 2
    assert done.stdout.endswith("soak: run 2 failed, of real guests, two tests at a time\n")
