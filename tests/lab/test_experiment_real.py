"""The whole lab from its command line: a small experiment, and one that is interrupted."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("image")]

LAB = [
    str(Path(sys.executable).with_name("autoballoon")),
    "lab",
    "run",
    "wave",
    "--guests",
    "3",
    "--phases",
    "1",
]


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LAB, "--beside", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def leftovers(pid: int) -> list[str]:
    """Whatever a lab of that pid would leave: processes, groups, swap, its run folder and note."""
    found = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/autoballoon-lab-{pid}")]
    found += [str(path) for path in Path("/run/autoballoon-lab").glob(f"{pid}*")]
    found += [line for line in Path("/proc/swaps").read_text().splitlines() if f"swap-{pid}" in line]
    for words in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"/autoballoon-lab/{pid}/".encode() in words.read_bytes():
                found.append(str(words))
        except OSError:
            continue
    return found


@pytest.mark.alone
def test_a_small_wave_is_measured_and_leaves_nothing(tmp_path: Path, soak_minutes: float) -> None:
    arms = {"off", "on"} if soak_minutes else {"on"}
    lab = start("--arms", ",".join(arms), "--json", "--out", str(tmp_path))
    said, progress = lab.communicate(timeout=300)
    assert lab.returncode == 0, progress
    assert leftovers(lab.pid) == []
    results = json.loads(said)
    assert {arm["name"] for arm in results["arms"]} == arms
    for arm in results["arms"]:
        (run,) = arm["runs"]
        assert (run["finished"], run["guests"]) == (3, 3)
        assert run["swap_out_pages"] > 0 if arm["name"] == "off" else run["controller_cpu_s"] > 0
    folder = next(tmp_path.iterdir())
    assert json.loads((folder / "results.json").read_text()) == results
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert {sample["arm"] for sample in samples} == arms
    assert max(len(sample["snapshot"]["guests"]) for sample in samples) == 3
    assert "set-target" in (folder / "decisions.jsonl").read_text()
    assert "Plotly.newPlot" in (folder / "report.html").read_text()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 3)])
def test_a_lab_that_is_interrupted_leaves_nothing(how: signal.Signals, code: int, tmp_path: Path) -> None:
    lab = start("--arms", "on", "--out", str(tmp_path / "out"))
    assert lab.stderr is not None
    for line in lab.stderr:
        if "MiB held" in line:
            break
    lab.send_signal(how)
    _, progress = lab.communicate(timeout=60)
    assert lab.returncode == code, progress
    assert "Traceback" not in progress
    assert leftovers(lab.pid) == []
    assert list((tmp_path / "out").iterdir()) == []
