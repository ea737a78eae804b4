"""Several hypervisors behave as one."""

from autoballoon.core.units import MIB
from autoballoon.guests.fake import FakeGuest, FakeHypervisor
from autoballoon.guests.hypervisor import sleep_on
from autoballoon.guests.several import Several


async def test_each_order_goes_to_the_one_that_knows_the_guest() -> None:
    first = FakeHypervisor(lambda: 0.0, [FakeGuest("one")])
    second = FakeHypervisor(lambda: 0.0, [FakeGuest("two", has_balloon=False), FakeGuest("three")])
    both = Several((first, second))
    await both.start(sleep_on)
    assert [guest.name for guest in await both.read()] == ["one", "two", "three"]
    three = await both.read_one("/fake/three")
    assert three is not None and three.name == "three" and await both.read_one("/fake/four") is None
    assert await both.set_target("/fake/three", 300 * MIB) and second.targets == [("/fake/three", 300 * MIB)]
    assert not await both.set_target("/fake/four", 300 * MIB)
    assert await both.suspend("/fake/one") is not None and not first.guests["/fake/one"].running
    assert await both.resume("/fake/one") is True
    assert await both.resume("/fake/four") is None
    await both.ask(frozenset({"/fake/one", "/fake/three"}))
    assert [problem.where for problem in both.problems()] == ["/fake/two"]
    await both.close()
    assert first.is_closed and second.is_closed


class Told(FakeHypervisor):
    """One that knows of channels."""

    def __init__(self, found: dict[str, str]) -> None:
        super().__init__(lambda: 0.0, [])
        self._found = found

    def channels(self) -> dict[str, str]:
        return self._found


def test_channels_are_those_of_all() -> None:
    both = Several((Told({"a": "/run/a"}), FakeHypervisor(lambda: 0.0, []), Told({"b": "/run/b"})))
    assert both.channels() == {"a": "/run/a", "b": "/run/b"}
