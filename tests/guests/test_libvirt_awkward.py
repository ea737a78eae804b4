"""libvirt and its domains when they do not behave: QEMUs that hang, a libvirtd that goes away, odd domains."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.model import Guest
from autoballoon.core.units import MIB
from autoballoon.guests import libvirt_orders as orders
from autoballoon.guests.agent import Agents
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.libvirt import LibvirtHypervisor
from autoballoon.guests.libvirt_api import run_events
from autoballoon.guests.libvirt_crew import MOST_LEFT
from tests.guests.fake_libvirt import FakeDomain, FakeLibvirt, _Connection

SPEED = 20
URI = "qemu:///system"
READINGS = 3
"""Threads in which domains are read, beside those for orders: all of them twice, and the known ones."""


class World:
    """A fake libvirt, an adapter that looks at it every 10 ms and waits 150 ms for a call, and who has heard what."""

    def __init__(self, *uris: str) -> None:
        self.api = FakeLibvirt(lambda: time.monotonic() * SPEED)
        self.dead: set[int] = set()
        self.heard: list[str] = []
        self.hypervisor = LibvirtHypervisor(
            uris or (URI,),
            verify=lambda name, uuid, folders: sum(name.encode()),
            age_s=lambda pid: None if pid in self.dead else 100.0,
            api=self.api,
            patience_s=0.15,
            fresh_s=0.01,
            look_s=0.02,
            ask_s=0.1,
            backoff_s=(0.02, 0.02),
        )

    def add(self, name: str, **kind: object) -> FakeDomain:
        return self.api.add(self.guest(name, **kind))

    def guest(self, name: str, **kind: object) -> FakeGuest:
        return FakeGuest(name, born_at=self.api.clock() - 100, **kind)  # type: ignore[arg-type]

    def key(self, domain: FakeDomain) -> str:
        return f"{URI}#{domain.uuid}"

    async def start(self) -> None:
        await self.hypervisor.start(self.wake)

    def wake(self, why: str, *, freed: bool = False) -> None:
        self.heard.append(why)

    async def until(self, seen: Callable[[dict[str, Guest]], bool]) -> dict[str, Guest]:
        for _ in range(400):
            guests = {guest.name: guest for guest in await self.hypervisor.read()}
            if seen(guests):
                return guests
            await asyncio.sleep(0.005)
        pytest.fail(f"never came to look like that: {guests} {self.hypervisor.problems()}")

    async def until_said(self, words: str, where: str | None = None) -> None:
        await self.until(
            lambda _: any(
                words in problem.says and where in (None, problem.where)
                for problem in self.hypervisor.problems()
            )
        )

    async def until_used_alone(self) -> None:
        """Until no connection is open but those in use."""
        lanes = self.hypervisor._links[URI].asker.lanes
        assert lanes is not None
        used = {lane.connection for lane in lanes._lanes.values()}
        await self.until(lambda _: used.issuperset(self.api.connections))

    async def until_well(self) -> None:
        await self.until(lambda _: not self.hypervisor.problems())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    for domain in world.api.domains.values():
        domain.answers.set()
        domain.unlocked.set()
    await world.hypervisor.close()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    until = time.monotonic() + 1
    while any(thread.name == "libvirt call" for thread in threading.enumerate()):
        assert time.monotonic() < until, "a call has not come back"
        time.sleep(0.005)


def read(*names: str) -> Callable[[dict[str, Guest]], bool]:
    return lambda guests: all(name in guests and guests[name].age_s is not None for name in names)


def is_old(guest: Guest) -> bool:
    return guest.age_s is not None and guest.age_s > 0.25


def is_young(guest: Guest) -> bool:
    return guest.age_s is not None and guest.age_s < 0.12


async def test_a_qemu_that_hangs_is_silent_and_delays_no_other(world: World) -> None:
    one, two = world.add("one"), world.add("two")
    await world.start()
    await world.until(read("one", "two"))
    one.answers.clear()
    await world.until(lambda guests: is_old(guests["one"]) and is_young(guests["two"]))
    await world.until_said("not come back (one not answering)", URI)
    await world.until_said("its QEMU does not answer libvirt", world.key(one))
    began = time.monotonic()
    assert await world.hypervisor.set_target(world.key(one), 300 * MIB) is False
    assert await world.hypervisor.suspend(world.key(one)) is None
    assert time.monotonic() - began < 0.1, "who is known to hang is not asked"
    assert await world.hypervisor.set_target(world.key(two), 300 * MIB)
    one.answers.set()
    await world.until(lambda guests: is_young(guests["one"]) and guests["two"].actual == 300 * MIB)
    await world.until_well()


async def test_an_order_that_hangs_is_left_and_the_others_go_on(world: World) -> None:
    one, two = world.add("one"), world.add("two")
    await world.start()
    await world.until(read("one", "two"))
    one.answers.clear()
    assert await world.hypervisor.set_target(world.key(one), 300 * MIB) is False
    assert await world.hypervisor.set_target(world.key(two), 300 * MIB)
    await world.until_said("its QEMU does not answer libvirt", world.key(one))
    one.answers.set()
    await world.until_well()


async def test_while_a_hook_runs_the_others_are_read_and_moved(world: World) -> None:
    """libvirt has locked the domain that is to start, and its hook waits for room that we are to make."""
    one, two = world.add("one"), world.add("two")
    await world.start()
    await world.until(read("one", "two"))
    starts = world.api.prepare(world.guest("starts"))
    await world.until_said("not come back (a hook may be at work)", URI)
    answers = one.guest.answers
    await world.until(lambda guests: one.guest.answers > answers + 5 and is_young(guests["one"]))
    assert await world.hypervisor.set_target(world.key(two), 300 * MIB)
    await world.until(lambda guests: guests["two"].actual == 300 * MIB and "starts" not in guests)
    out = sum(thread.name == "libvirt call" for thread in threading.enumerate())
    assert out <= 3, "some are left for orders"
    world.api.begin(starts)
    await world.until(read("starts"))
    await world.until_well()


async def beside_a_hook(world: World) -> None:
    """The guest `one` runs, another waits for its hook, and readings of all domains come back no more."""
    world.add("one")
    await world.start()
    await world.until(read("one"))
    world.api.prepare(world.guest("waits"))
    await world.until_said("2 calls to libvirt have not come back", URI)


async def test_one_that_starts_while_a_hook_of_another_runs_is_met(world: World) -> None:
    """Whoever lists all domains waits for the hook; libvirt has told of this one by itself."""
    await beside_a_hook(world)
    new = world.add("new")
    await world.until(read("one", "new"))
    assert await world.hypervisor.set_target(world.key(new), 300 * MIB)
    await world.until(lambda guests: is_young(guests["new"]) and guests["new"].actual == 300 * MIB)
    world.api.end(new)
    await world.until(lambda guests: set(guests) == {"one"})


async def test_one_that_has_started_and_holds_up_a_reading_holds_up_no_other(world: World) -> None:
    await beside_a_hook(world)
    new = world.add("new")
    new.unlocked.clear()
    await world.until_said("3 calls to libvirt have not come back", URI)
    for _ in range(3):
        await asyncio.sleep(0.1)
        await world.until(lambda guests: is_young(guests["one"]))
    await world.until_said("3 calls to libvirt have not come back", URI)
    new.unlocked.set()
    await world.until(read("new"))


async def test_a_daemon_that_starts_beside_two_that_hang_sees_the_others(world: World) -> None:
    for name in ("one", "two"):
        world.add(name).answers.clear()
    three = world.add("three")
    await world.start()
    await world.until(read("three"))
    assert await world.hypervisor.set_target(world.key(three), 300 * MIB)
    await world.until(lambda guests: is_young(guests["three"]) and guests["three"].actual == 300 * MIB)


async def test_no_more_than_four_readings_are_left_and_beside_six_calls_none_is_made(world: World) -> None:
    domains = [world.add(f"guest-{n}") for n in range(MOST_LEFT + 2)]
    await world.start()
    await world.until(read(*(domain.guest.name for domain in domains)))
    for domain in domains[1:]:
        domain.answers.clear()
    await world.until_said("4 calls to libvirt have not come back")
    await world.until_said("no other reading is made until one comes back")
    await asyncio.sleep(0.1)
    assert sum(thread.name == "libvirt call" for thread in threading.enumerate()) == 4
    assert len(await world.hypervisor.read()) == len(domains), "all are kept, and age"
    assert await world.hypervisor.set_target(world.key(domains[0]), 300 * MIB), "orders go on"
    orders = (world.hypervisor.set_target(world.key(domain), 300 * MIB) for domain in domains[1:])
    assert not any(await asyncio.gather(*orders))
    out = sum(thread.name == "libvirt call" for thread in threading.enumerate())
    assert MOST_LEFT <= out <= MOST_LEFT + READINGS, "some were under way already"
    await world.until_said("no other call is made until one comes back")
    for domain in domains:
        domain.answers.set()
    await world.until(lambda guests: all(is_young(guest) for guest in guests.values()))
    await world.until_well()


async def test_many_orders_at_once_take_few_threads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    domains = [world.add(f"guest-{n}") for n in range(100)]
    await world.start()
    await world.until(lambda guests: len(guests) == 100)
    threads = []

    def slowly(guest: FakeGuest, size: int, now: float) -> None:
        threads.append(sum(thread.name == "libvirt call" for thread in threading.enumerate()))
        time.sleep(0.002)

    monkeypatch.setattr(FakeGuest, "set_target", slowly)
    orders = (world.hypervisor.set_target(world.key(domain), 300 * MIB) for domain in domains)
    assert all(await asyncio.gather(*orders))
    assert len(threads) == 100 and max(threads) <= MOST_LEFT + READINGS


async def test_what_is_under_way_when_all_hang_is_bounded_and_nothing_is_added(world: World) -> None:
    """As when libvirtd itself is stopped, while many guests are told their sizes."""
    domains = [world.add(f"guest-{n}") for n in range(50)]
    await world.start()
    await world.until(read(*(domain.guest.name for domain in domains)))
    for domain in domains:
        domain.answers.clear()
    orders = (world.hypervisor.set_target(world.key(domain), 300 * MIB) for domain in domains)
    assert not any(await asyncio.gather(*orders))
    out = {thread for thread in threading.enumerate() if thread.name == "libvirt call"}
    assert MOST_LEFT <= len(out) <= MOST_LEFT + READINGS
    for domain in domains:
        assert await world.hypervisor.set_target(world.key(domain), 300 * MIB) is False
        await world.hypervisor.read()
    assert {thread for thread in threading.enumerate() if thread.name == "libvirt call"} <= out
    await world.until_said("no other call is made until one comes back", URI)
    for domain in domains:
        domain.answers.set()
    await world.until_well()
    assert await world.hypervisor.set_target(world.key(domains[0]), 300 * MIB)


async def test_a_call_for_which_there_is_no_thread_is_made_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    one = world.add("one")
    await world.start()
    await world.until(read("one"))
    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", none_left)
        assert await world.hypervisor.set_target(world.key(one), 300 * MIB) is False
        await world.until(lambda guests: is_old(guests["one"]))
    world.add("two")
    await world.until(read("one", "two"))
    assert await world.hypervisor.set_target(world.key(one), 300 * MIB)


async def test_leaving_does_not_wait_for_a_qemu_that_hangs(world: World) -> None:
    one, two = world.add("one"), world.add("two")
    await world.start()
    await world.until(read("one", "two"))
    one.answers.clear()
    await world.until(lambda guests: is_old(guests["one"]))
    began = time.monotonic()
    await world.hypervisor.close()
    assert time.monotonic() - began < 1.0
    assert two.period_s == 0, "what was switched on is switched off"


async def test_guests_outlive_libvirtd(world: World) -> None:
    one, two = world.add("one"), world.add("two")
    await world.start()
    before = await world.until(read("one", "two"))
    world.api.refuses = "Failed to connect socket"
    world.api.crash()
    await world.until_said("cannot be connected to (Failed to connect socket)", URI)
    await world.until_said("its guests are kept and age", URI)
    assert await world.hypervisor.set_target(world.key(one), 300 * MIB) is False
    world.dead.add(sum(b"two"))
    await world.until(lambda guests: set(guests) == {"one"})
    del world.api.domains[two.uuid]
    world.api.refuses = None
    after = await world.until(lambda guests: read("one")(guests) and is_young(guests["one"]))
    assert after["one"].key == before["one"].key
    await world.until_well()


async def test_a_libvirtd_that_is_not_there_yet_is_waited_for(world: World) -> None:
    world.add("one")
    world.api.refuses = "Failed to connect socket"
    await world.start()
    assert await world.hypervisor.read() == []
    await world.until_said("look whether its daemon runs; it is tried again", URI)
    world.api.refuses = None
    await world.until(read("one"))


async def test_a_libvirt_that_refuses_to_list_its_domains_is_told_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its access control, say; the connection is as good as ever."""

    def refuse(connection: object, groups: int, flags: int) -> None:
        raise world.api.libvirtError("access denied: 'connect' 'search-domains'")

    world.add("one")
    with monkeypatch.context() as patch:
        patch.setattr("tests.guests.fake_libvirt._Connection.getAllDomainStats", refuse)
        await world.start()
        await world.until_said(
            "does not tell how its domains are (access denied: 'connect' 'search-domains')", URI
        )
    await world.until(read("one"))
    await world.until_well()


async def test_one_connection_that_fails_does_not_hinder_another() -> None:
    other = "qemu:///session"
    world = World(URI, other, URI)
    one = world.add("one")
    world.api.refuses, world.api.refuses_uri = "no such socket", other
    await world.start()
    guests = await world.hypervisor.read()
    assert [guest.key for guest in guests] == [world.key(one)]
    assert [problem.where for problem in world.hypervisor.problems()] == [other]
    assert await world.hypervisor.set_target(f"{other}#{one.uuid}", 300 * MIB) is False
    world.api.refuses = None
    for _ in range(100):
        keys = sorted(guest.key for guest in await world.hypervisor.read())
        if len(keys) == 2:
            break
        await asyncio.sleep(0.005)
    assert keys == [f"{other}#{one.uuid}", world.key(one)]
    await world.hypervisor.close()


async def test_a_domain_that_starts_anew_is_another_life(world: World) -> None:
    one = world.add("one")
    await world.start()
    await world.until(read("one"))
    await world.hypervisor.set_target(world.key(one), 300 * MIB)
    await world.until(lambda guests: guests["one"].actual == 300 * MIB)
    world.api.end(one)
    await world.until(lambda guests: not guests)
    assert "one is gone" in world.heard
    again = world.add("one")
    guests = await world.until(lambda guests: "one" in guests)
    assert guests["one"].key != world.key(one) and guests["one"].key == world.key(again)
    assert "a guest has started" in world.heard


async def test_the_ceiling_is_what_the_next_start_would_give(world: World) -> None:
    one = world.add("one")
    one.wanted = 400 * MIB
    other = world.add("transient")
    other.is_persistent = False
    await world.start()
    guests = await world.until(read("one", "transient"))
    assert guests["one"].ceiling == 400 * MIB
    assert guests["transient"].ceiling == 0, "its own <currentMemory> is the balloon as it stands"
    one.wanted = 450 * MIB
    world.api.lifecycle(one, world.api.VIR_DOMAIN_EVENT_DEFINED)
    await world.until(lambda guests: guests["one"].ceiling == 450 * MIB)


async def test_what_cannot_be_balanced_is_left_alone_and_told(world: World) -> None:
    bare = world.add("bare", has_balloon=False)
    plugged = world.add("plugged")
    plugged.more_devices = "<memory model='virtio-mem'/>"
    await world.start()
    guests = await world.until(lambda guests: len(guests) == 2)
    assert not guests["bare"].managed and not guests["plugged"].managed
    await world.until_said("add <memballoon model='virtio'/> to its XML", world.key(bare))
    await world.until_said("virtio-mem", world.key(plugged))
    assert not await world.hypervisor.set_target(world.key(bare), 300 * MIB)


async def test_statistics_that_were_on_stay_on(world: World) -> None:
    one = world.add("one")
    one.guest.interval_s = one.period_s = 5
    await world.start()
    guests = await world.until(read("one"))
    assert guests["one"].period_s == 5
    await world.hypervisor.ask(frozenset({world.key(one)}))
    await world.hypervisor.close()
    assert one.period_s == 5 and set(one.periods) == {0, 5}


async def test_nonsense_is_dropped_and_told(world: World) -> None:
    one = world.add("one")
    await world.start()
    await world.until(read("one"))
    one.lies = {"available": 2**50}
    await world.until_said("bytes of memory in all and was given", world.key(one))
    one.lies = {"usable": "much"}
    await world.until_said("is not a number of 64 bits", world.key(one))
    one.lies = {}
    await world.until_well()


@pytest.mark.parametrize("known_by", ["answer", "event"])
async def test_what_a_reading_that_was_held_up_tells_late_does_not_undo_a_pause(
    world: World, monkeypatch: pytest.MonkeyPatch, known_by: str
) -> None:
    """Were it believed, somebody would seem to have let the guest run, and it would stay paused for ever."""
    one, two = world.add("one"), world.add("two")
    await world.start()
    await world.until(read("one", "two"))
    two.answers.clear()
    await asyncio.sleep(0.015)
    await world.hypervisor.read()  # has seen the first, and hangs at the second
    if known_by == "answer":
        with monkeypatch.context() as patch:
            patch.setattr(FakeLibvirt, "lifecycle", lambda *_: None)  # its event comes later
            assert await world.hypervisor.suspend(world.key(one)) is True
    else:
        one.state = (3, 1)
        world.api.lifecycle(one, world.api.VIR_DOMAIN_EVENT_SUSPENDED)
    two.answers.set()
    listing = world.hypervisor._links[URI]._listing
    assert listing is not None
    await listing
    guest = await world.hypervisor.read_one(world.key(one))
    assert guest is not None and not guest.running
    one.state = (1, 5)  # whoever let it run, nobody told
    await world.until(lambda guests: guests["one"].running)


async def test_only_what_a_user_paused_is_resumed(world: World) -> None:
    one = world.add("one")
    await world.start()
    await world.until(read("one"))
    for reason in (0, 2, 3, 5, 12):  # unknown, migration, save, I/O error, post-copy
        one.state = (3, reason)
        assert await world.hypervisor.resume(world.key(one)) is False
        assert await world.hypervisor.suspend(world.key(one)) is False
    one.state = (3, 1)
    assert await world.hypervisor.resume(world.key(one)) is True


async def test_whose_memory_is_being_written_is_not_stopped_and_no_pause_of_that_is_forgotten(
    world: World,
) -> None:
    one = world.add("one")
    await world.start()
    await world.until(read("one"))
    one.guest.migrating = True
    assert await world.hypervisor.suspend(world.key(one)) is False
    assert one.state == (1, 1)
    one.guest.migrating = False
    for reason in (2, 9):  # a migration, a snapshot: it began just then
        one.state, one.pause = (1, 1), (3, reason)
        assert await world.hypervisor.suspend(world.key(one)) is None
        one.guest.migrating = True
        assert await world.hypervisor.resume(world.key(one)) is None, "the job will tell"
        one.guest.migrating = False
        assert await world.hypervisor.resume(world.key(one)) is False


async def test_a_qemu_that_hangs_holds_one_call_of_its_own(world: World) -> None:
    one, two = world.add("one"), world.add("two")
    await world.start()
    await world.until(read("one", "two"))
    one.answers.clear()
    key = world.key(one)
    orders = (
        world.hypervisor.set_target(key, 300 * MIB),
        world.hypervisor.set_target(key, 310 * MIB),
        world.hypervisor.suspend(key),
        world.hypervisor.resume(key),
        world.hypervisor.ask(frozenset({key})),
    )
    await asyncio.gather(*orders)
    assert sum(thread.name == "libvirt call" for thread in threading.enumerate()) == 1
    await world.until(lambda guests: is_old(guests["one"]) and is_young(guests["two"]))
    assert await world.hypervisor.set_target(world.key(two), 300 * MIB)
    one.answers.set()
    await world.until_well()


async def test_beside_two_that_hang_the_others_are_read_and_moved(world: World) -> None:
    """They hang at once, while they are read, asked and told."""
    hang, others = [world.add("one"), world.add("two")], [world.add("three"), world.add("four")]
    await world.start()
    await world.until(read("one", "two", "three", "four"))
    for domain in hang:
        domain.answers.clear()
    keys = [world.key(domain) for domain in hang]
    for _ in hang:
        await asyncio.sleep(0.015)
        await world.hypervisor.read()  # hangs at the first that nobody is at yet
    assert sum(thread.name == "libvirt call" for thread in threading.enumerate()) == len(hang)
    await asyncio.gather(
        world.hypervisor.ask(frozenset(keys)), *(world.hypervisor.set_target(key, 300 * MIB) for key in keys)
    )
    assert sum(thread.name == "libvirt call" for thread in threading.enumerate()) <= MOST_LEFT - 2
    keys = [world.key(domain) for domain in others]
    assert all(await asyncio.gather(*(world.hypervisor.set_target(key, 300 * MIB) for key in keys)))
    await world.until(lambda guests: all(is_young(guests[name]) for name in ("three", "four")))


async def test_an_order_does_not_wait_until_a_slow_guest_has_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "_FIRST_LOOK_S", 100.0)
    one = world.add("one")
    await world.start()
    await world.until(read("one"))
    asked = asyncio.create_task(world.hypervisor.ask(frozenset({world.key(one)})))
    await asyncio.sleep(0.02)
    assert await world.hypervisor.set_target(world.key(one), 300 * MIB)
    await asked


async def test_a_period_that_a_question_of_ours_has_set_to_0_stays_its_owners(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libvirtd dies between that and the setting back, and its XML tells of 0."""
    really = orders.set_period

    def dies(api: FakeLibvirt, domain: object, seconds: int) -> bool:
        done = really(api, domain, seconds)
        if seconds == 0:
            api.crash()
        return done

    one = world.add("one")
    one.guest.interval_s = one.period_s = 5
    await world.start()
    await world.until(read("one"))
    with monkeypatch.context() as patch:
        patch.setattr(orders, "set_period", dies)
        await world.hypervisor.ask(frozenset({world.key(one)}))
    assert one.period_s == 0
    for domain in world.hypervisor._links[URI].domains.values():
        domain.is_stale = True
    await world.until(lambda guests: one.period_s == 5)
    assert (await world.hypervisor.read())[0].period_s == 5
    await world.hypervisor.close()
    assert one.period_s == 5, "it was not ours to switch off"


async def test_an_incoming_domain_is_told_from_one_that_leaves(world: World) -> None:
    leaving, coming = world.add("leaving"), world.add("coming")
    coming.state = (3, 2)
    await world.start()
    guests = await world.until(lambda guests: len(guests) == 2)
    assert guests["coming"].incoming and not guests["coming"].running
    leaving.state = (3, 2)
    guests = await world.until(lambda guests: not guests["leaving"].running)
    assert not guests["leaving"].incoming
    coming.state = (1, 3)
    await world.until(lambda guests: guests["coming"].running and not guests["coming"].incoming)


async def test_a_domain_that_is_being_migrated_is_not_shrunk_even_where_nothing_announced_it(
    world: World,
) -> None:
    domain = world.add("one")
    await world.start()
    guest = (await world.until(read("one")))["one"]
    assert not guest.migrating
    domain.guest.migrating = True
    assert not await world.hypervisor.set_target(guest.key, 300 * MIB)
    assert domain.guest.target == guest.max
    assert (await world.hypervisor.read())[0].migrating
    assert await world.hypervisor.set_target(guest.key, guest.max)  # calling a shrink off may go through
    domain.guest.migrating = False
    await world.until(lambda guests: not guests["one"].migrating)
    assert await world.hypervisor.set_target(guest.key, 300 * MIB)


async def test_a_migration_that_is_announced_is_known_until_it_is_over(world: World) -> None:
    domain = world.add("one")
    await world.start()
    await world.until(read("one"))
    domain.guest.migrating = True
    for number in (1, 2):
        world.api.event(world.api.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, domain, number)
    await world.until(lambda guests: guests["one"].migrating)
    assert world.heard.count("one is being migrated") == 1
    domain.guest.migrating = False  # it was given up
    await world.until(lambda guests: not guests["one"].migrating)


async def test_a_balloon_that_moves_by_itself_wakes(world: World) -> None:
    one = world.add("one")
    await world.start()
    await world.until(read("one"))
    await world.hypervisor.set_target(world.key(one), 300 * MIB)
    await world.until(lambda guests: guests["one"].actual == 300 * MIB)
    await world.until(lambda _: "one is at its target" in world.heard)
    world.api.event(world.api.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, one, 320 * 1024)
    await world.until(lambda _: "one takes memory back by itself" in world.heard)


async def test_a_connection_that_opens_after_we_have_left_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on, really_open = threading.Event(), threading.Event(), world.api.open

    def slowly(uri: str) -> object:
        begun.set()
        goes_on.wait()
        return really_open(uri)

    monkeypatch.setattr(world.api, "open", slowly)
    starting = asyncio.create_task(world.start())
    await asyncio.to_thread(begun.wait)
    await world.hypervisor.close()
    goes_on.set()
    starting.cancel()
    for thread in threading.enumerate():
        if thread.name == "libvirt call":
            await asyncio.to_thread(thread.join)
    for _ in range(400):
        if not world.api.connections:
            break
        await asyncio.sleep(0.005)
    assert world.api.connections == []


async def test_a_connection_that_opens_too_late_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, really_open = threading.Event(), world.api.open

    def slowly(uri: str) -> object:
        goes_on.wait()
        return really_open(uri)

    one = world.add("one")
    await world.start()
    await world.until(read("one"))
    with monkeypatch.context() as patch:
        patch.setattr("autoballoon.guests.libvirt_lanes.OPEN_S", 0.02)
        patch.setattr(world.api, "open", slowly)
        one.answers.clear()  # so that another connection is needed for the known ones
        await world.until_said("2 calls to libvirt have not come back", URI)
        goes_on.set()
    one.answers.set()
    await world.until_well()
    await world.until_used_alone()


@pytest.mark.parametrize("listening", ["fails half-way", "is late"])
async def test_a_connection_of_which_not_all_can_be_heard_tells_nothing_and_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch, listening: str
) -> None:
    goes_on, kinds = threading.Event(), []

    def register(connection: _Connection, domain: object, kind: int, *callback: Any) -> int:
        kinds.append(kind)
        if len(kinds) == 3 and listening == "is late":
            goes_on.wait()
        elif len(kinds) == 3:
            raise world.api.libvirtError("out of memory")
        return really_register(connection, domain, kind, *callback)

    really_register = _Connection.domainEventRegisterAny
    monkeypatch.setattr(_Connection, "domainEventRegisterAny", register)
    world.add("one")
    await world.start()
    await world.until(read("one"))
    goes_on.set()
    await world.until_used_alone()


async def test_ten_starts_later_nothing_is_open(world: World) -> None:
    world.add("one")
    for _ in range(10):
        await world.start()
        await world.until(read("one"))
        await world.hypervisor.close()
        assert world.api.connections == []


def test_without_the_module_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(CouldNot, match="python3-libvirt"):
        LibvirtHypervisor([URI], verify=lambda *_: None, age_s=lambda _: None)


def test_a_failed_round_of_events_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt's event loop can fail (a descriptor closed under it); were it left, no event would ever come again."""
    monkeypatch.setattr("autoballoon.guests.libvirt_api.RETRY_S", 0.0)
    rounds: list[int] = []
    goes_on = threading.Event()

    class Failing(FakeLibvirt):
        def virEventRunDefaultImpl(self) -> None:
            rounds.append(len(rounds))
            if len(rounds) == 1:
                raise OSError(9, "Bad file descriptor")
            goes_on.set()
            super().virEventRunDefaultImpl()

    run_events(Failing(time.monotonic))
    assert goes_on.wait(5.0)
    assert rounds == [0, 1]


def test_without_a_thread_for_libvirts_events_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(CouldNot, match="no thread could be started for libvirt's events"):
        run_events(FakeLibvirt(time.monotonic))


CHANNEL = """<channel type='unix'><source mode='bind' path='{path}'/>
<target type='virtio' name='org.autoballoon.0'/></channel>"""


async def test_a_domains_agent_is_heard_without_being_configured(world: World, tmp_path: Path) -> None:
    async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"v":1,"seq":1,"why":"pressure","oom_kills":3}\n')
        await reader.read()
        writer.close()

    pressed: list[str] = []

    def press(key: str, *, waits: bool) -> None:
        pressed.append(key)

    one = world.add("one")
    world.add("other")
    one.more_devices = CHANNEL.format(path=tmp_path / "anything")
    agents = Agents()
    agents.listen(press)
    async with await asyncio.start_unix_server(agent, tmp_path / "anything"):
        await world.start()
        guests = await world.until(lambda guests: len(guests) == 2)
        assert world.hypervisor.channels() == {world.key(one): str(tmp_path / "anything")}
        agents.meet(list(guests.values()), world.hypervisor.channels())
        await world.until(lambda guests: agents.fill(guests["one"]).oom_kills == 3)
        assert agents.fill(guests["other"]).oom_kills is None
        assert set(agents.status(list(guests.values()))) == {"one"}
        assert pressed in ([], [world.key(one)]), "it may have spoken before it was known whose it is"
        world.api.end(one)
        await world.until(lambda guests: "one" not in guests)
        agents.meet([], world.hypervisor.channels())
        assert agents.status(list(guests.values())) == {}
        await agents.close()
