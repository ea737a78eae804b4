import datetime
from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.model import Host, Snapshot
from autoballoon.lab import results as kept
from autoballoon.views.lab_results import ArmResult, Machine, Results, Run, Sample, Told

DAY = datetime.date(2026, 2, 3)
RUN = Run(
    round=1, wall_s=80.5, work_s=[1.5, 2.5], finished=2, swap_in_pages=3, swap_out_pages=4, guest_oom=0, guests=2,
    controller_cpu_s=0.5, controller_rss=1 << 20, extra={"worst_phase_s": 1.0, "notes": []},
)  # fmt: skip
RESULTS = Results(
    experiment="wave",
    machine=Machine(cores=2, ram=1 << 34, accel="tcg", kernel="6.1", qemu="QEMU 7.2", cgroup="v1"),
    command="autoballoon lab run wave",
    arms=[ArmResult(name="on", policy="ladder", limit=1 << 31, runs=[RUN])],
)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    kept.write(tmp_path, RESULTS)
    assert kept.read(tmp_path) == RESULTS
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_the_file_has_the_published_fields(tmp_path: Path) -> None:
    import json  # noqa: PLC0415  (as anyone's script would read it)

    kept.write(tmp_path, RESULTS)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["v"] == 1
    assert set(found) == {"v", "experiment", "machine", "command", "arms", "differs"}
    assert set(found["arms"][0]) == {"name", "policy", "limit", "runs"}
    assert set(found["arms"][0]["runs"][0]) == {
        "round", "wall_s", "work_s", "finished", "swap_in_pages", "swap_out_pages", "guest_oom", "guests",
        "controller_cpu_s", "controller_rss", "noisy", "extra",
    }  # fmt: skip


def test_samples_and_what_was_told_come_back_line_by_line(tmp_path: Path) -> None:
    sample = Sample(
        arm="on", round=1, at_s=1.0, usage=5, limit=None, swap_in_pages=0, swap_out_pages=0,
        snapshot=Snapshot(host=Host(capacity=10, available=5)),
    )  # fmt: skip
    told = Told(arm="on", round=1, at_s=1.0, data={"decisions": []})
    for _ in range(2):
        kept.Lines(tmp_path / "samples.jsonl").add(sample)
        kept.Lines(tmp_path / "decisions.jsonl").add(told)
    assert kept.read_samples(tmp_path) == [sample, sample]
    assert kept.read_told(tmp_path) == [told, told]


def test_an_arm_without_a_controller_told_nothing(tmp_path: Path) -> None:
    assert kept.read_told(tmp_path) == []


def test_no_folder_is_written_over(tmp_path: Path) -> None:
    made = [kept.new_folder(tmp_path / "out", "wave", DAY).name for _ in range(3)]
    assert made == ["wave-20260203-1", "wave-20260203-2", "wave-20260203-3"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CouldNot, match=r"file.* cannot be written .*; make room or give another --out"):
        kept.new_folder(tmp_path / "file" / "out", "wave", DAY)


def test_a_disk_that_is_full_leaves_the_old_results_whole(tmp_path: Path) -> None:
    kept.write(tmp_path, RESULTS)
    with pytest.raises(CouldNot, match="No space left on device"):
        kept.Lines(Path("/dev/full")).add(Told(arm="on", round=1, at_s=0.0, data={}))
    assert kept.read(tmp_path) == RESULTS
