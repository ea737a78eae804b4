"""tools/balloon_picture.py: the picture of balloons over time is drawn from samples, and from nothing else."""

import re
from pathlib import Path

import msgspec
import pytest

from autoballoon.core.model import Guest, Host, Snapshot
from autoballoon.core.units import MIB
from autoballoon.views.lab_results import Sample
from tools.balloon_picture import main, picture


def sample(at_s: float, *sizes_mib: int) -> Sample:
    """What guests of 512 MiB had at that moment."""
    guests = tuple(
        Guest(key=str(n), name=f"guest-{n}", max=512 * MIB, actual=mib * MIB)
        for n, mib in enumerate(sizes_mib)
    )
    return Sample(
        arm="on",
        round=1,
        at_s=at_s,
        usage=0,
        limit=None,
        swap_in_pages=0,
        swap_out_pages=0,
        snapshot=Snapshot(host=Host(capacity=1, available=1), guests=guests),
    )


def test_a_line_for_each_guest_and_one_for_their_mean() -> None:
    drawn = picture([("on<1>", [sample(0.0, 512), sample(10.0, 412, 212)])])
    lines = [
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(r'polyline points="([^"]*)"', drawn)
    ]
    assert [len(line) for line in lines] == [2, 1, 2]
    (first, last), ((_, other),), (_, mean) = lines
    bottom, top = first[1], other
    assert last[1] == pytest.approx(bottom - (bottom - top) / 3, abs=0.1), "100 MiB of 300"
    assert mean[1] == pytest.approx(bottom - (bottom - top) * 2 / 3, abs=0.1), "200 MiB of 300"
    assert "on&lt;1&gt;" in drawn


def test_what_cannot_be_drawn_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "samples.jsonl").write_bytes(msgspec.json.encode(sample(0.0)) + b"\n")
    assert main([]) == main([str(tmp_path), "off"]) == main([str(tmp_path / "none"), "on"]) == 2
    (tmp_path / "samples.jsonl").write_text("{")
    assert main([str(tmp_path), "on"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 4)
