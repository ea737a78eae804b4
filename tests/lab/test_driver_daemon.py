"""Our driver in a guest and the daemon on its host: the guest takes memory back by itself."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from autoballoon.core.units import MIB
from autoballoon.lab.host import LabHost
from autoballoon.views.status import Status

from .driven import Driven
from .test_daemon_real import daemon_on, named

pytestmark = pytest.mark.lab

PAGES = 12_800
"""50 MiB."""


def has_decided(reason: str) -> Callable[[Status], bool]:
    return lambda status: any(told.reason.startswith(reason) for told in status.decisions)


async def test_a_guest_that_took_memory_back_is_followed_and_shrunk_later_by_decision(
    guest: Driven, lab_host: LabHost, tmp_path: Path
) -> None:
    await guest.load("deflate=shrinker")
    lab_host.group.limit(400 * MIB)
    async with daemon_on(lab_host, tmp_path) as daemon:
        await daemon.until(
            "small and left so",
            lambda status: (
                (seen := named(status, "driven")) is not None
                and seen.actual < 400 * MIB
                and not any(told.kind == "set-target" for told in status.decisions)
                and status.decisions[0].target == seen.actual
            ),
        )
        small = await guest.actual()
        assert small < 400 * MIB
        looked = len(daemon.seen)
        # The daemon may be done before the guest's shell has told what it did: look from now on.
        following = asyncio.create_task(daemon.until("followed", has_decided("deflated")))
        shrinking = asyncio.create_task(daemon.until("smaller again", has_decided("take"), 60.0))
        assert await guest.scan(PAGES) == PAGES
        status = await following
        (told,) = (told for told in status.decisions if told.reason == "deflated")
        seen = named(status, "driven")
        assert seen is not None
        assert told.size == seen.actual
        # Another tick may come while it deflates: what it had by then is followed.
        assert small < seen.actual <= small + PAGES * 4096
        assert (await guest.counters())["cap"] == -1, "the target that follows is a decision too"
        later = await shrinking
        between = [s for s in daemon.seen[looked:] if s is not later]
        assert any(t.reason == "cool-down" for s in between for t in s.decisions)
