import asyncio

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.lab.beside import beside


async def test_the_work_ends_with_the_block() -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended = True

    async with beside(work()):
        await asyncio.sleep(0)
        assert not ended
    assert ended


async def test_work_that_fails_ends_the_block_with_its_own_error() -> None:
    async def work() -> None:
        raise CouldNot("the disk is full")

    with pytest.raises(CouldNot, match="the disk is full"):
        async with beside(work()):
            await asyncio.Event().wait()


async def test_a_block_that_fails_ends_the_work_and_keeps_its_error() -> None:
    with pytest.raises(CouldNot, match="no guest"):
        async with beside(asyncio.Event().wait()):  # type: ignore[arg-type]
            raise CouldNot("no guest")
