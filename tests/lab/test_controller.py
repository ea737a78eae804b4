import sys
import tomllib
from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.daemon import config
from autoballoon.lab.controller import Controller, config_text, cost_of
from autoballoon.lab.instruments import SwapCounters
from autoballoon.policies import POLICIES


def test_the_controllers_config_is_one_that_the_product_takes() -> None:
    text = config_text(capacity="12GiB", run=Path('/run/a "lab"'), policy="ladder")
    assert tomllib.loads(text)["connect"]["qmp"] == ['/run/a "lab"/ctl/*.qmp']
    assert config.parse(text)


def test_the_agents_that_run_in_guests_are_heard() -> None:
    text = config_text(capacity="12GiB", run=Path("/run/lab"), policy="ladder", side="agent")
    assert config.parse(text).agent == ("/run/lab/ctl/*.agent",)
    assert config.parse(config_text(capacity="12GiB", run=Path("/run/lab"), policy="ladder")).agent == ()


def test_headrooms_of_an_arm_are_in_its_config() -> None:
    text = config_text(capacity="12GiB", run=Path("/run/lab"), policy="ladder", headroom="12.5%")
    assert tomllib.loads(text)["defaults"]["headroom"] == "12.5%"
    assert config.parse(text)


def test_what_the_controller_costs_is_read_past_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "proc/7"
    folder.mkdir(parents=True)
    counters = " ".join(str(number) for number in range(4, 53))
    folder.joinpath("stat").write_text(f"7 (a ) b) S {counters}\n")
    folder.joinpath("status").write_text("Name:\ta\nVmPeak:\t 99 kB\nVmHWM:\t    2048 kB\n")
    cost = cost_of(7, tmp_path)
    assert cost is not None
    assert (cost.cpu_s, cost.rss) == (0.29, 2 << 20)  # fields 14 and 15, in ticks of 10 ms
    assert cost_of(8, tmp_path) is None


def test_an_arms_choice_for_overloads_is_in_its_config_and_nothing_else_is() -> None:
    plain, guest_swap, suspend = (
        tomllib.loads(config_text(capacity="12GiB", run=Path("/run/lab"), policy="ladder", overload=choice))
        for choice in ("host-swap", "guest-swap", "suspend")
    )
    assert plain["host"] == {"capacity": "12GiB"}
    assert guest_swap["host"] == {"capacity": "12GiB", "overload": "guest-swap"}
    assert suspend["host"] == {"capacity": "12GiB", "overload": "suspend"}
    assert suspend["defaults"] == plain["defaults"] | {"may_suspend": True}
    for table in ("connect", "control", "policy"):
        assert plain[table] == guest_swap[table] == suspend[table]
    assert guest_swap["defaults"] == plain["defaults"]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_can_be_an_arms(policy: str) -> None:
    text = config_text(capacity="12GiB", run=Path("/run/lab"), policy=policy)
    assert config.parse(text).policy == policy


async def test_a_controller_that_ends_at_once_is_told_in_its_own_words(tmp_path: Path) -> None:
    text = config_text(capacity="cgroup:/nowhere", run=tmp_path, policy="ladder")
    controller = Controller(text=text, run=tmp_path, keep=tmp_path, label="on-1")
    with pytest.raises(CouldNot, match=r"the controller ended at once: .*nowhere"):
        async with controller:
            raise AssertionError("it is not up")
    assert controller.cost is None


FAKE = """#!{python}
import os, signal, socket
signal.signal(signal.SIGTERM, lambda *_: (print("last words", flush=True), os._exit({status})))
listening = socket.socket(socket.AF_UNIX)
listening.bind("{socket}")
listening.listen()
talking, _ = listening.accept()
talking.recv(100)
talking.send(b'{{"ok": true, "data": {{}}}}\\n')
signal.pause()
"""


@pytest.mark.parametrize(
    ("status", "died"), [(0, None), (3, "the controller ended with 3 when it was told to end: last words")]
)
async def test_a_controller_that_does_not_end_as_it_should_has_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, died: str | None
) -> None:
    program = tmp_path / "autoballoon"
    program.write_text(FAKE.format(python=sys.executable, socket=tmp_path / "control.sock", status=status))
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    controller = Controller(text="", run=tmp_path, keep=tmp_path, label="on-1")
    async with controller:
        pass
    assert controller.died == died


@pytest.mark.parametrize("file", ["controller-on-1.toml", "controller-on-1.log"])
async def test_where_its_files_cannot_be_written_it_is_not_started(tmp_path: Path, file: str) -> None:
    (tmp_path / file).mkdir()
    controller = Controller(text="", run=tmp_path, keep=tmp_path, label="on-1")
    with pytest.raises(
        CouldNot, match=rf"{file} cannot be written \(Is a directory\); make room or give another --out"
    ):
        async with controller:
            raise AssertionError("it is not up")


def test_swap_counts_zswap_and_zero_pages_too_and_lacks_nothing_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    vmstat = tmp_path / "proc/vmstat"
    vmstat.write_text("pgpgin 1\npswpin 10\npswpout 20\n")
    before = SwapCounters.read(tmp_path)
    vmstat.write_text("pswpin 11\npswpout 22\nzswpin 100\nzswpout 200\nswpin_zero 1000\nswpout_zero 2000\n")
    assert SwapCounters.read(tmp_path).since(before) == SwapCounters(1101, 2202)
