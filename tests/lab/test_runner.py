from collections.abc import Awaitable, Callable

import pytest

from autoballoon.lab.arms import OFF, YARDSTICK, Arm
from autoballoon.lab.runner import repeated_when_noisy
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
