"""Work that runs beside a block and ends with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` until the block ends. When it fails, the block is ended at once, and its error is what is raised."""
    try:
        async with asyncio.TaskGroup() as both:
            task = both.create_task(work)
            yield
            task.cancel()
    except BaseExceptionGroup as errors:
        # Callers wait for plain errors, and one is enough to be told.
        raise errors.exceptions[0] from None
