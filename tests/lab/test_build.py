"""What the workloads tell of waiting, read from their sources; test_build_real.py runs one."""

import re
import subprocess
from importlib import resources
from pathlib import Path

import pytest

SOURCES = resources.files("autoballoon.lab") / "guest"


@pytest.mark.parametrize(
    ("pressure", "told"),
    [
        ("some avg10=0.00 avg60=1.20 avg300=0.10 total=1234567\nfull avg10=0 avg60=0 avg300=0 total=9\n", "1.234"),
        (None, "-1"),
    ],
)  # fmt: skip
def test_build_tells_the_seconds_in_which_something_waited(
    tmp_path: Path, pressure: str | None, told: str
) -> None:
    file = tmp_path / "memory"
    if pressure is not None:
        file.write_text(pressure)
    source = SOURCES.joinpath("build").read_text()
    functions = re.findall(r"^seconds\(\) .*?$|^waited\(\) .*?^\}$", source, re.MULTILINE | re.DOTALL)
    script = "\n".join([*functions, "waited"]).replace("/proc/pressure/memory", str(file))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (told, "")


@pytest.mark.parametrize("source", ["build", "workload.c"])
def test_every_workload_tells_it_before_the_go_and_when_it_is_done(source: str) -> None:
    text = SOURCES.joinpath(source).read_text().replace("\\\n", "")
    told = [line for line in text.splitlines() if re.search(r'event\\": \\"(filled|done)', line)]
    assert told and all("psi_some_s" in line for line in told)
