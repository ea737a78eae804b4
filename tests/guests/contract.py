"""What every hypervisor must do, as one body of tests; each adapter's tests give it a rig of their own."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import pytest

from autoballoon.core.model import Guest
from autoballoon.core.units import MIB
from autoballoon.guests.hypervisor import Hypervisor


class Rig(Protocol):
    """A started hypervisor with one guest of 512 MiB that has booted, and a hand on that guest."""

    settles_s: float
    """A reading that was asked for is not older than this when the answer is there."""
    old_s: float
    """Without a new one, a reading becomes older than this."""

    @property
    def hypervisor(self) -> Hypervisor: ...

    async def until(self, seen: Callable[[Guest], bool]) -> Guest:
        """Let time pass until the guest looks like that; fails the test when it never does."""

    async def until_gone(self) -> None:
        """Let time pass until no guest is seen."""

    async def wait(self, seconds: float) -> None:
        """Let so much time pass."""

    async def slow_down(self) -> None:
        """See that unasked statistics come no more often than once in three times `settles_s`."""

    async def reset(self) -> None:
        """Reset the guest; its driver comes up again."""

    async def silence(self) -> None:
        """Make it send no statistics any more."""

    async def vanish(self) -> None:
        """End it."""


class Placed(Rig, Protocol):
    """A rig whose hypervisor is told where to look."""

    where: str
    elsewhere: str
    """Where it looks, and where nobody is."""

    async def look_at(self, *where: str) -> None:
        """Have it look there."""


class HypervisorContract:
    """Subclasses give the fixture `rig`."""

    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        raise NotImplementedError
        yield

    async def test_a_guest_is_seen_with_what_is_known_of_it(self, rig: Rig) -> None:
        guest = await rig.until(lambda guest: guest.available is not None)
        assert guest.max == 512 * MIB == guest.actual
        assert guest.running and guest.managed and guest.driver and not guest.incoming
        assert guest.deflates_itself is True
        assert guest.total is not None and guest.available is not None and guest.free is not None
        assert guest.caches is not None
        assert 0 < guest.available <= guest.total <= guest.max
        assert guest.free <= guest.total and guest.caches <= guest.total
        assert guest.swap_in == guest.swap_out == 0
        assert guest.age_s is not None and 0 <= guest.age_s < 3
        assert rig.hypervisor.problems() == []

    async def test_a_target_is_reached_and_statistics_follow_it(self, rig: Rig) -> None:
        before = await rig.until(lambda guest: guest.available is not None)
        assert await rig.hypervisor.set_target(before.key, 300 * MIB)
        shrunk = await rig.until(
            lambda guest: (
                guest.actual == 300 * MIB and guest.available is not None and guest.available < 300 * MIB
            )
        )
        assert await rig.hypervisor.set_target(shrunk.key, 512 * MIB)
        await rig.until(lambda guest: guest.actual == 512 * MIB)

    async def test_asking_gives_a_reading_of_this_moment(self, rig: Rig) -> None:
        guest = await rig.until(lambda guest: guest.available is not None)
        await rig.slow_down()
        for _ in range(3):
            await rig.wait(rig.settles_s * 2)
            await rig.hypervisor.ask(frozenset({guest.key, "another"}))
            asked = await rig.hypervisor.read_one(guest.key)
            assert asked is not None
            assert asked.age_s is not None and asked.age_s <= rig.settles_s

    async def test_a_silent_guest_is_kept_and_its_reading_ages(self, rig: Rig) -> None:
        guest = await rig.until(lambda guest: guest.age_s is not None)
        await rig.silence()
        await rig.hypervisor.ask(frozenset({guest.key}))
        aged = await rig.until(lambda guest: guest.age_s is not None and guest.age_s > rig.old_s)
        assert aged.available is not None

    async def test_a_stopped_guest_is_told_and_runs_again(self, rig: Rig) -> None:
        guest = await rig.until(lambda guest: guest.running)
        assert await rig.hypervisor.suspend(guest.key)
        await rig.until(lambda guest: not guest.running)
        assert await rig.hypervisor.suspend(guest.key) is False  # whoever stopped it, it was not this
        assert await rig.hypervisor.resume(guest.key)
        await rig.until(lambda guest: guest.running)
        assert await rig.hypervisor.resume(guest.key)

    async def test_after_a_reset_nothing_old_is_believed(self, rig: Rig) -> None:
        guest = await rig.until(lambda guest: guest.available is not None)
        await rig.hypervisor.set_target(guest.key, 300 * MIB)
        await rig.until(lambda guest: guest.actual == 300 * MIB)
        await rig.wait(rig.old_s)
        await rig.reset()
        fresh = await rig.until(lambda guest: guest.age_s is None)
        assert fresh.actual == fresh.max and fresh.available is None and fresh.driver is False
        assert fresh.up_s is not None and fresh.up_s < 1
        booted = await rig.until(lambda guest: guest.available is not None and guest.driver is True)
        assert booted.age_s is not None and booted.up_s is not None and booted.age_s <= booted.up_s

    async def test_a_size_that_it_seems_to_have_after_a_reset_is_asked_for_too(self, rig: Rig) -> None:
        """QEMU keeps the target of before, and the new driver would go for that."""
        guest = await rig.until(lambda guest: guest.available is not None)
        await rig.hypervisor.set_target(guest.key, 300 * MIB)
        await rig.until(lambda guest: guest.actual == 300 * MIB)
        await rig.reset()
        fresh = await rig.until(lambda guest: guest.age_s is None)
        assert fresh.actual == fresh.max
        assert await rig.hypervisor.set_target(guest.key, fresh.max)
        await rig.until(lambda guest: guest.available is not None and guest.driver is True)
        await rig.wait(rig.old_s)
        await rig.hypervisor.ask(frozenset({guest.key}))
        after = await rig.hypervisor.read_one(guest.key)
        assert after is not None and after.available is not None
        assert (after.actual, after.available > 300 * MIB) == (fresh.max, True), after

    async def test_a_guest_that_ends_is_gone(self, rig: Rig) -> None:
        guest = await rig.until(lambda guest: True)
        await rig.vanish()
        await rig.until_gone()
        assert await rig.hypervisor.read_one(guest.key) is None
        assert not await rig.hypervisor.set_target(guest.key, 300 * MIB)
        assert await rig.hypervisor.suspend(guest.key) is None
        assert await rig.hypervisor.resume(guest.key) is None
        await rig.hypervisor.ask(frozenset({guest.key}))

    async def test_a_size_that_no_guest_can_have_is_refused(self, rig: Rig) -> None:
        guest = await rig.until(lambda guest: True)
        assert not await rig.hypervisor.set_target(guest.key, 0)
        assert not await rig.hypervisor.set_target("another", 300 * MIB)


class PlacedContract(HypervisorContract):
    """What those must do besides that may be told to look elsewhere; their fixture `rig` is Placed."""

    async def test_a_guest_at_a_place_that_stays_is_not_lost_for_a_moment(self, rig: Placed) -> None:
        before = await rig.until(lambda guest: guest.available is not None)
        for where in ((rig.elsewhere, rig.where), (rig.where,)):
            await rig.look_at(*where)
            now = await rig.hypervisor.read_one(before.key)
            assert now is not None and now.available is not None and now.age_s is not None
            assert await rig.hypervisor.set_target(before.key, before.actual)

    async def test_who_is_looked_for_elsewhere_is_let_go_and_found_again(self, rig: Placed) -> None:
        before = await rig.until(lambda guest: guest.available is not None)
        await rig.look_at(rig.elsewhere)
        assert await rig.hypervisor.read() == []
        assert not await rig.hypervisor.set_target(before.key, 300 * MIB)
        await rig.look_at(rig.elsewhere, rig.where)
        again = await rig.until(lambda guest: guest.available is not None)
        assert again.key == before.key and again.actual == before.actual
        assert await rig.hypervisor.set_target(again.key, 300 * MIB)
