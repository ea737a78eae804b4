import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from autoballoon.core.units import MIB
from autoballoon.lab.spikes import LOOK_EVERY_S, Spikes, waited_of
from autoballoon.lab.vm import Event, Vm


class Talker:
    """A guest that says these things and is through with the last when it is told so."""

    def __init__(self, *data: dict[str, Any]) -> None:
        self.name = "one"
        self.heard: list[Event] = []
        self._says = data

    async def events(self) -> AsyncIterator[Event]:
        for data in self._says:
            self.heard.append(Event("begin", time.monotonic(), data))
            yield self.heard[-1]


async def timed(
    sizes: Sequence[int | None], *data: dict[str, Any], short: int | None = None
) -> dict[str, Any]:
    """What is told of a guest that is seen at these sizes, MiB, one after the other; it runs short just before the
    look of that number."""
    talker, seen = Talker(*data), list(sizes)

    async def size_of(_: Vm) -> int | None:
        if len(sizes) - len(seen) == short:
            talker.heard.append(Event("short", time.monotonic(), {}))
        if len(seen) == 1:
            talker.heard.append(Event("phase", time.monotonic(), {}))
        size = seen.pop(0)
        return None if size is None else size * MIB

    spikes = Spikes(size_of, time.monotonic() - 7.0)
    await asyncio.wait_for(spikes.follow(cast("Vm", talker)), 5)
    return spikes.extra()


TAKES = {"takes": 250 * MIB, "available": 150 * MIB}


async def test_a_spike_is_timed_to_its_first_page_and_to_all_that_it_lacks() -> None:
    told = await timed([200, 200, 201, 299, 300, 300], TAKES)
    (first,), (whole,) = told["first_s"], told["whole_s"]
    assert 2 * LOOK_EVERY_S <= first < whole and whole >= 4 * LOOK_EVERY_S
    (spike,) = told["spikes"]
    assert (spike["guest"], spike["lacks"], round(spike["at_s"])) == ("one", 100 * MIB, 7)


async def test_a_spike_is_timed_anew_from_when_the_guest_has_used_what_it_had() -> None:
    told = await timed([200, 210, 220, 220, 220, 221, 300, 300], TAKES, short=3)
    (spike,), (first,), (whole,) = told["spikes"], told["first_short_s"], told["whole_short_s"]
    assert spike["short_s"] >= 2 * LOOK_EVERY_S  # what it was given before is among what it had
    assert 2 * LOOK_EVERY_S <= first < whole < told["whole_s"][0]
    assert told["first_s"][0] < spike["short_s"]


async def test_a_guest_that_shrinks_on_while_it_is_short_has_been_given_nothing_yet() -> None:
    told = await timed([200, 200, 190, 180, 180], TAKES, short=2)
    assert (told["first_short_s"], told["whole_short_s"]) == ([None], [None])


async def test_who_was_given_all_before_it_ran_short_never_did() -> None:
    told = await timed([200, 250, 300, 300], TAKES, short=3)
    assert (told["spikes"][0]["short_s"], told["first_short_s"], told["whole_short_s"]) == (None, [], [])


async def test_a_guest_that_still_shrinks_has_been_given_nothing_yet() -> None:
    told = await timed([300, 280, 260, 261, 261], TAKES)
    assert told["first_s"][0] >= 3 * LOOK_EVERY_S and told["whole_s"] == [None]


async def test_who_is_through_before_anything_came_was_never_given_it() -> None:
    told = await timed([200, 200, 200], TAKES)
    assert (told["first_s"], told["whole_s"], told["spikes_enough"]) == ([None], [None], 0)


async def test_a_guest_that_has_enough_is_counted_and_not_timed() -> None:
    told = await timed([200, 300], {"takes": 100 * MIB, "available": 150 * MIB}, {"n": 1})
    assert told.pop("spikes_enough") == 1
    assert set(map(str, told.values())) == {"[]"}


async def test_a_guest_that_cannot_be_looked_at_is_never_seen_to_be_given() -> None:
    assert (await timed([None, None], TAKES))["first_s"] == [None]


@pytest.mark.parametrize(
    ("filled", "done", "waited"), [(1.0, 3.5, 2.5), (-1.0, -1.0, None), (1.0, None, None)]
)
def test_what_guests_waited_is_known_from_those_that_tell_it(
    filled: float, done: float | None, waited: float | None
) -> None:
    heard = [Event("filled", 0.0, {"psi_some_s": filled})]
    if done is not None:
        heard.append(Event("done", 9.0, {"psi_some_s": done}))
    assert waited_of([heard]) == {"guests_psi_s": waited}
