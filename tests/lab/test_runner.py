import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.lab import runner
from autoballoon.lab.arms import OFF, ON, YARDSTICK, Arm
from autoballoon.lab.experiments import experiment_named
from autoballoon.lab.image import GuestImage
from autoballoon.lab.preflight import Room
from autoballoon.lab.progress import Progress
from autoballoon.lab.runner import Wish, in_turn, repeated_when_noisy, run_experiment
from autoballoon.views.lab_results import Run


def runs_with(*swapped: int) -> Callable[[], Awaitable[Run]]:
    """Runs that swap so many pages, one after the other."""
    left = iter(swapped)

    async def once() -> Run:
        pages = next(left)
        return Run(
            round=1, wall_s=1.0, work_s=[1.0], finished=1, swap_in_pages=pages // 2, swap_out_pages=pages - pages // 2,
            guest_oom=0, guests=1,
        )  # fmt: skip

    return once


@pytest.mark.parametrize(
    ("arm", "swapped", "noisy"),
    [
        (YARDSTICK, (1000,), [False]),
        (YARDSTICK, (1001, 0), [True, False]),
        (YARDSTICK, (1001, 1001), [True, True]),
        (OFF, (10**6,), [False]),
    ],
)
async def test_a_yardstick_that_swaps_is_noisy_and_repeated_once(
    arm: Arm, swapped: tuple[int, ...], noisy: list[bool]
) -> None:
    runs = await repeated_when_noisy(arm, runs_with(*swapped))
    assert [run.noisy for run in runs] == noisy


def test_no_arm_is_always_the_first() -> None:
    arms = (YARDSTICK, OFF, ON)
    assert [in_turn(arms, round_) for round_ in (1, 2, 3)] == [arms, arms[::-1], arms]


@pytest.fixture
def wish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wish:
    """One arm of wave, whose results shall lie in the folder results, on a machine that has room and may swap."""
    monkeypatch.setattr(runner, "preflight", lambda **_: Room(guests=3, says=None))
    monkeypatch.setattr(runner, "must_swap", lambda: None)
    monkeypatch.setenv("AUTOBALLOON_CACHE", str(tmp_path / "cache"))
    return Wish(
        experiment=experiment_named("wave"), arms=(OFF,), rounds=1, policy="ladder", accel="tcg", beside=True,
        out=tmp_path / "results", command="",
    )  # fmt: skip


async def test_where_results_cannot_be_kept_is_told_before_anything_is_made(
    wish: Wish, tmp_path: Path
) -> None:
    (tmp_path / "results").touch()
    with pytest.raises(CouldNot, match="results cannot be written"):
        await run_experiment(wish, Progress(sys.stderr, 3))
    assert os.listdir(tmp_path) == ["results"]  # noqa: PTH208 - nothing here waits for a disk


async def test_where_nobody_may_swap_nothing_is_made(
    wish: Wish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise CouldNot("the lab cannot swap here")

    monkeypatch.setattr(runner, "must_swap", refused)
    with pytest.raises(CouldNot, match="cannot swap here"):
        await run_experiment(wish, Progress(sys.stderr, 3))
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_what_setting_guests_up_took_is_told_apart(
    wish: Wish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    image = GuestImage(kernel=Path("k"), initrd=Path("i"), disk=Path("d"), kernel_version="6.1")

    def build_image(*_: object) -> GuestImage:
        clock[0] += 63.0
        return image

    def the_host_is_next(**_: object) -> None:
        raise CouldNot("so far")

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr(runner, "build_image", build_image)
    monkeypatch.setattr(runner, "Setting", the_host_is_next)
    with pytest.raises(CouldNot, match="so far"):
        await run_experiment(wish, Progress(sys.stderr, 3))
    assert "as asked for; set-up of the guests took 63 s\n" in capsys.readouterr().err
