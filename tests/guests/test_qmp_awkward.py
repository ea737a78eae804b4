"""Sockets and servers that misbehave: each costs one sentence, no traceback, and no other guest's time."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoballoon.core.model import Guest
from autoballoon.core.units import GIB, MIB
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.qmp import QmpHypervisor
from tests.guests.fake_qmp import FakeQemu, one_for_each

TIMEOUT_S = 0.2
"""For one command; the good servers beside a bad one answer far sooner, also on a busy machine."""


class Bench:
    """A hypervisor over a folder of sockets, with short timeouts."""

    def __init__(self, folder: Path, **terms: Any) -> None:
        self.folder = folder
        self.woken: list[str] = []
        defaults: dict[str, Any] = {
            "verify": one_for_each,
            "rescan_s": 0.02,
            "interval_s": 0.02,
            "backoff_s": (0.02, 0.1),
            "queue_s": 2 * TIMEOUT_S,
        }
        self.hypervisor = QmpHypervisor(
            [str(folder / "*.qmp")], command_timeout_s=TIMEOUT_S, **{**defaults, **terms}
        )

    def qemu(self, name: str = "bad", **guest: Any) -> FakeQemu:
        return FakeQemu(self.folder / f"{name}.qmp", FakeGuest(name, **guest))

    def problems(self, stem: str = "bad") -> list[str]:
        """What is said of one socket: on a busy machine another may time out for a moment."""
        path = str(self.folder / f"{stem}.qmp")
        return [problem.says for problem in self.hypervisor.problems() if problem.where == path]

    def says(self, stem: str = "bad") -> str:
        """The one problem that there is with a socket."""
        (says,) = self.problems(stem)
        return says

    async def until(self, is_so: Callable[[], bool]) -> None:
        for _ in range(400):
            if is_so():
                return
            await asyncio.sleep(0.005)
        pytest.fail(f"it never came to be: {self.hypervisor.problems()}")

    async def until_seen(self, *names: str) -> list[Guest]:
        """The guests, once they are those of these names."""
        for _ in range(400):
            guests = sorted(await self.hypervisor.read(), key=lambda guest: guest.name)
            if [guest.name for guest in guests] == sorted(names):
                return guests
            await asyncio.sleep(0.005)
        pytest.fail(f"they were never seen: {names}, but {guests}")

    async def start(self) -> None:
        await self.hypervisor.start(self.wake)

    def wake(self, why: str, *, freed: bool = False) -> None:
        self.woken.append(f"{why} (freed)" if freed else why)


@pytest.fixture
async def bench(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Bench]:
    """Whatever happens, nothing is logged: no library's complaint, no exception that nobody took."""
    bench = Bench(tmp_path)
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
    with caplog.at_level(logging.INFO):
        yield bench
        await bench.hypervisor.close()
        await asyncio.sleep(0)
    assert caplog.records == []
    assert unhandled == []
    assert [task for task in asyncio.all_tasks() if "qmp" in repr(task.get_coro()).lower()] == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("no-greeting", "gave no greeting within 0.2 s: another client holds it"),
        ("garbage-greeting", "does not speak QMP"),
        ("hangs-up", "hung up before it greeted"),
        ("silent", "did not answer"),
        ("jammed", "did not answer"),
        ("garbage", "closed the connection"),
        ("deep", "closed the connection"),
        ("endless", "closed the connection"),
        ("cuts", "closed the connection"),
        ("half-closes", "closed the connection"),
    ],
)
async def test_a_server_that_misbehaves_from_the_start(bench: Bench, fault: str, says: str) -> None:
    async with bench.qemu() as qemu, bench.qemu("good"):
        qemu.fault = fault
        await bench.start()
        await bench.until_seen("good")
        await bench.until(
            lambda: says in bench.says()
        )  # on a slow machine it may have been told of as late first
        qemu.fault = None
        await bench.until(lambda: bench.problems() == [])
        await bench.until_seen("bad", "good")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("silent", "greeted, and did not answer qmp_capabilities within 0.2 s"),
        ("jammed", "greeted, and did not answer qmp_capabilities within 0.2 s"),
        ("garbage", "does not speak QMP"),
        ("deep", "does not speak QMP"),
        ("endless", "does not speak QMP"),
        ("cuts", "hung up after it greeted"),
        ("half-closes", "hung up after it greeted"),
    ],
)
async def test_a_server_that_greets_and_then_misbehaves(tmp_path: Path, fault: str, says: str) -> None:
    bench = Bench(tmp_path, queue_s=60.0)
    async with bench.qemu() as qemu, bench.qemu("good"):
        qemu.fault, qemu.spared = fault, set()
        await bench.start()
        await bench.until_seen("good")
        await bench.until(lambda: bool(bench.problems()))
        assert says in bench.says()
        qemu.fault = None
        await bench.until(lambda: bench.problems() == [])
        await bench.until_seen("bad", "good")
        await bench.hypervisor.close()


@pytest.mark.parametrize("fault", ["silent", "jammed", "garbage", "deep", "endless", "cuts", "half-closes"])
async def test_a_server_that_begins_to_misbehave(bench: Bench, fault: str) -> None:
    async with bench.qemu() as qemu, bench.qemu("good"):
        await bench.start()
        bad, good = await bench.until_seen("bad", "good")
        qemu.fault = fault
        async with asyncio.timeout(2.0):
            assert not await bench.hypervisor.set_target(bad.key, 300 * MIB)
            await bench.hypervisor.ask(frozenset({bad.key, good.key}))
        await bench.until(
            lambda: "its last statistics are kept and age" in "".join(map(str, bench.hypervisor.problems()))
        )
        await bench.until_seen("bad", "good")
        assert await bench.hypervisor.set_target(good.key, 300 * MIB)
        qemu.fault = None
        await bench.until(lambda: bench.problems() == [])


async def test_a_slow_server_delays_nobody(bench: Bench) -> None:
    async with bench.qemu() as qemu, bench.qemu("good"):
        qemu.slow_s = 60.0
        async with asyncio.timeout(2.0):
            await bench.start()
            (good,) = await bench.until_seen("good")
            await bench.hypervisor.ask(frozenset({good.key}))


async def test_a_monitor_that_is_taken(bench: Bench) -> None:
    """As QEMU does it: it accepts one client and leaves the others in the queue."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bench.folder / "held.qmp"))
        listener.listen(0)
        await bench.start()
        assert "another client holds it" in bench.says("held")
        await asyncio.sleep(TIMEOUT_S)
        assert "another client holds it" in bench.says("held")  # we stand in the queue
        await bench.hypervisor.close()
        # What has left fills the queue all the same, and connecting itself is refused.
        await bench.start()
        await bench.until(lambda: "has clients waiting already" in bench.says("held"))


async def test_sockets_that_nobody_serves_are_no_guests_and_no_problem(bench: Bench) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(bench.folder / "dead.qmp"))
    (bench.folder / "file.qmp").write_text("not a socket")
    (bench.folder / "loop.qmp").symlink_to("loop.qmp")
    (bench.folder / "nowhere.qmp").symlink_to("/nonexistent/socket")
    await bench.start()
    assert await bench.hypervisor.read() == [] and bench.hypervisor.problems() == []


async def test_who_could_not_be_connected_to_for_want_of_files_is_so_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with bench.qemu():
        with monkeypatch.context() as patch:
            patch.setattr("autoballoon.guests.qmp_wire.socket.socket", no_more)
            await bench.start()
            assert "(Too many open files)" in bench.says()
        await bench.until_seen("bad")
        assert bench.problems() == []


async def test_two_names_of_one_socket_are_one_guest(bench: Bench) -> None:
    async with bench.qemu("one"):
        (bench.folder / "two.qmp").symlink_to("one.qmp")
        await bench.start()
        await bench.until_seen("one")


async def test_two_monitors_of_one_process_are_one_guest(tmp_path: Path) -> None:
    bench = Bench(tmp_path, verify=lambda path, pid: 7)
    async with bench.qemu("one") as one, bench.qemu("two") as two:
        await bench.start()
        await bench.until_seen("one")
        await bench.until(lambda: bench.problems("two") != [])
        assert bench.says("two") == (
            f"is another monitor of the QEMU at {one.path}, and no guest more; take it out of [connect] qmp"
        )
        assert set(two.commands) == {"qmp_capabilities"}, "and it is let go"
        await one.quit()
        await bench.until_seen("two")
        await bench.until(lambda: bench.problems("two") == [])
        await bench.hypervisor.close()


async def test_sockets_come_and_go(bench: Bench) -> None:
    await bench.start()
    assert await bench.hypervisor.read() == []
    for _ in range(2):
        async with bench.qemu("late") as qemu:
            await bench.until(lambda: "late is seen" in bench.woken)
            await qemu.quit()
        await bench.until(lambda: "late is gone" in bench.woken)
        assert await bench.hypervisor.read() == [] and bench.hypervisor.problems() == []
        bench.woken.clear()


async def test_a_socket_that_is_refused_is_never_connected_to(tmp_path: Path) -> None:
    bench = Bench(tmp_path, refuse=lambda path: "belongs to another manager" if "bad" in path else None)
    async with bench.qemu() as qemu, bench.qemu("good"):
        await bench.start()
        assert bench.says() == "belongs to another manager"
        await bench.until_seen("good")
        assert qemu.clients == 0
        await bench.hypervisor.close()


async def test_a_guest_without_a_balloon_is_told_and_left_alone(bench: Bench) -> None:
    async with bench.qemu(has_balloon=False):
        await bench.start()
        (guest,) = await bench.until_seen("bad")
        assert not guest.managed and guest.actual == guest.max and guest.age_s is None
        assert "no balloon device" in bench.says()
        assert not await bench.hypervisor.set_target(guest.key, 300 * MIB)
        assert await bench.hypervisor.suspend(guest.key)


@pytest.mark.parametrize(
    ("home", "device"),
    [
        ("/machine/peripheral", "virtio-balloon-pci"),
        ("/machine/peripheral", "virtio-balloon-pci-non-transitional"),
        ("/machine/peripheral-anon", "virtio-balloon-pci"),
        ("/machine/peripheral-anon", "virtio-balloon-ccw"),
        ("/machine/peripheral", "virtio-balloon-device"),
        ("/machine/unattached", "virtio-balloon-device"),
    ],
)
async def test_the_balloon_device_is_found_wherever_it_sits(bench: Bench, home: str, device: str) -> None:
    async with bench.qemu("one") as qemu:
        qemu.home, qemu.device = home, device
        await bench.start()
        (guest,) = await bench.until_seen("one")
        assert bench.problems("one") == []
        assert guest.driver and guest.deflates_itself is True and qemu.guest.interval_s == 1
        answers = qemu.guest.answers
        await bench.hypervisor.ask(frozenset({guest.key}))
        assert qemu.guest.answers > answers
        assert await bench.hypervisor.set_target(guest.key, 300 * MIB)
        assert qemu.guest.target == 300 * MIB


@pytest.mark.parametrize("state", ["postmigrate", "io-error", "inmigrate", "guest-panicked", "shutdown"])
async def test_a_guest_that_stands_still_for_another_reason_is_not_told_to_run(
    bench: Bench, state: str
) -> None:
    async with bench.qemu() as qemu:
        await bench.start()
        (guest,) = await bench.until_seen("bad")
        assert await bench.hypervisor.suspend(guest.key)
        qemu.replies["query-status"] = {"status": state, "running": False}
        assert await bench.hypervisor.resume(guest.key) is False
        assert "cont" not in qemu.commands
        qemu.replies["query-status"] = {
            "status": "prelaunch",
            "running": False,
        }  # it was reset while it stood still
        assert await bench.hypervisor.resume(guest.key)
        assert "cont" in qemu.commands


async def test_whether_a_guest_that_does_not_answer_is_stopped_is_not_known(bench: Bench) -> None:
    async with bench.qemu() as qemu:
        await bench.start()
        (guest,) = await bench.until_seen("bad")
        qemu.fault = "silent"
        assert await bench.hypervisor.suspend(guest.key) is None
        assert await bench.hypervisor.resume(guest.key) is None


async def test_an_unverified_process_is_told_and_its_pid_unknown(tmp_path: Path) -> None:
    bench = Bench(tmp_path, verify=lambda path, pid: None)
    async with bench.qemu():
        await bench.start()
        (guest,) = await bench.until_seen("bad")
        assert guest.pid is None and guest.up_s is None
        assert "could not be verified" in bench.says()
        await bench.hypervisor.close()


@pytest.mark.parametrize(
    "lie",
    [
        {"stat-total-memory": 64 * GIB},
        {"stat-total-memory": 0},
        {"stat-available-memory": 64 * GIB},
        {"stat-available-memory": -1},
        {"stat-available-memory": "300 MiB"},
        {"stat-free-memory": True},
        {"stat-swap-in": 2**64},
        {"stat-disk-caches": 1.5},
        {"last-update": -1},
        {"last-update": None},
    ],
)
async def test_a_lie_is_dropped_whole_and_told(bench: Bench, lie: dict[str, object]) -> None:
    async with bench.qemu() as qemu:
        await bench.start()
        (honest,) = await bench.until_seen("bad")
        qemu.lies = lie
        await bench.until(lambda: bench.problems() != [])
        assert "such readings dropped" in bench.says()
        (guest,) = await bench.until_seen("bad")
        assert (guest.total, guest.available) == (honest.total, honest.available)
        qemu.lies = {}
        await bench.hypervisor.ask(frozenset({guest.key}))
        await bench.until(lambda: bench.problems() == [])


async def test_what_nobody_has_thought_of_is_told_and_tried_again(tmp_path: Path) -> None:
    is_broken = True

    def verify(path: str, pid: int | None) -> int | None:
        if is_broken:
            raise ZeroDivisionError("of all things")
        return pid

    bench = Bench(tmp_path, verify=verify)
    async with bench.qemu():
        await bench.start()
        assert bench.says() == "could not be used (ZeroDivisionError: of all things)"
        is_broken = False
        await bench.until_seen("bad")
        assert bench.problems() == []
        await bench.hypervisor.close()


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("query-status", []),
        ("query-status", {"status": ["x"]}),
        ("query-migrate", {"status": ["x"]}),
        ("query-memory-size-summary", {"base-memory": "much"}),
        ("query-memory-size-summary", "much"),
        ("query-balloon", {"actual": None}),
        ("qom-list", [None, {"name": 1}, "x"]),
        ("query-name", {"name": ["x"]}),
        ("x-query-virtio-status", {"status": [], "guest-features": None}),
        ("x-query-virtio-queue-status", []),
        ("qom-get", [[]]),
    ],
)
async def test_answers_of_a_form_that_qemu_never_gives(bench: Bench, command: str, reply: object) -> None:
    async with bench.qemu() as qemu, bench.qemu("good"):
        qemu.replies = {command: reply}
        await bench.start()
        await bench.until(lambda: "good is seen" in bench.woken)
        qemu.replies = {}
        await bench.until_seen("bad", "good")


async def test_a_size_that_no_host_has_is_no_guests(bench: Bench) -> None:
    async with bench.qemu() as qemu:
        qemu.replies = {"query-memory-size-summary": {"base-memory": 10**400, "plugged-memory": 0}}
        await bench.start()
        assert "tells no size of its memory" in bench.says()
        assert await bench.hypervisor.read() == []


async def test_a_name_is_bounded(bench: Bench) -> None:
    async with bench.qemu("odd") as qemu:
        qemu.guest.name = "a\x1b[31m\n" + "x" * 200
        await bench.start()
        await bench.until_seen(("a?[31m?" + "x" * 200)[:64])


async def test_a_guest_without_a_name_has_its_sockets(bench: Bench) -> None:
    async with bench.qemu("stem") as qemu:
        qemu.guest.name = ""
        await bench.start()
        await bench.until_seen("stem")


async def test_the_polling_that_was_off_is_off_afterwards(bench: Bench) -> None:
    async with bench.qemu("off") as off, bench.qemu("own") as own:
        own.guest.interval_s = 7
        await bench.start()
        await bench.until_seen("off", "own")
        assert (off.guest.interval_s, own.guest.interval_s) == (1, 7)
        assert {one.name: one.period_s for one in await bench.hypervisor.read()} == {"off": 1, "own": 7}
        await bench.hypervisor.ask(frozenset(guest.key for guest in await bench.hypervisor.read()))
        assert (off.guest.interval_s, own.guest.interval_s) == (1, 7)
        await bench.hypervisor.close()
        assert (off.guest.interval_s, own.guest.interval_s) == (0, 7)


async def test_an_older_qemu_shows_freshness_by_a_changed_reading(bench: Bench) -> None:
    async with bench.qemu("old") as qemu:
        qemu.knows_virtio_queries = False
        await bench.start()
        (guest,) = await bench.until_seen("old")
        assert guest.driver is None and guest.deflates_itself is None
        await bench.hypervisor.ask(frozenset({guest.key}))
        (guest,) = await bench.until_seen("old")
        assert guest.age_s is not None and guest.age_s < TIMEOUT_S


async def test_events_wake_the_daemon(bench: Bench) -> None:
    async with bench.qemu("one") as qemu:
        await bench.start()
        await bench.until_seen("one")
        bench.woken.clear()
        qemu.event("BALLOON_CHANGE", actual=400 * MIB)
        qemu.guest.actual = qemu.guest.target = 400 * MIB
        await bench.until(lambda: "one is at 400 MiB (freed)" in bench.woken)
        qemu.reset()
        await bench.until(lambda: "one was reset" in bench.woken)
        qemu.guest.driver = True
        await bench.until(lambda: "one: its balloon driver is up" in bench.woken)
        qemu.event("BALLOON_CHANGE", actual="much")
        qemu.event("UNHEARD_OF", actual=1)
        qemu.guest.max = GIB
        qemu.event("MEMORY_DEVICE_SIZE_CHANGE")
        for _ in range(400):
            (guest,) = await bench.hypervisor.read()
            if guest.max == GIB:
                return
            await asyncio.sleep(0.005)
        pytest.fail("the plugged memory was never seen")


async def test_a_guest_that_shuts_down_is_asked_what_became_of_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, interval_s=60.0)
    async with bench.qemu("one") as qemu:
        await bench.start()
        (guest,) = await bench.until_seen("one")
        assert guest.running
        qemu.guest.running = False  # -no-shutdown: QEMU stays, and sends no STOP
        qemu.event("SHUTDOWN", guest=True, reason="guest-shutdown")
        for _ in range(400):
            (guest,) = await bench.hypervisor.read()
            if not guest.running:
                break
            await asyncio.sleep(0.005)
        assert not guest.running
        await bench.hypervisor.close()


async def test_a_qemu_that_is_replaced_is_another_guest(bench: Bench) -> None:
    pids = iter([11, 12])
    bench.hypervisor = Bench(bench.folder, verify=lambda path, pid: next(pids)).hypervisor
    qemu = bench.qemu("one")
    async with qemu:
        await bench.start()
        (first,) = await bench.until_seen("one")
        assert await bench.hypervisor.set_target(first.key, 500 * MIB)
        await qemu.quit()
        with contextlib.suppress(FileNotFoundError):
            qemu.path.unlink()
        async with bench.qemu("one", max=GIB, actual=300 * MIB) as another:
            await bench.until(lambda: bench.woken.count("one is seen") == 2)
            (second,) = await bench.until_seen("one")
            assert (first.pid, second.pid) == (11, 12)
            assert (first.max, second.max) == (512 * MIB, GIB)
            another.event(
                "BALLOON_CHANGE", actual=400 * MIB
            )  # nobody has told this one to become 500 MiB large
            await bench.until(lambda: "one takes memory back by itself" in bench.woken)
            await bench.hypervisor.close()


async def test_a_guest_that_is_being_migrated_is_not_shrunk_even_where_nothing_announced_it(
    bench: Bench,
) -> None:
    async with bench.qemu("one") as qemu:
        await bench.start()
        (guest,) = await bench.until_seen("one")
        assert not guest.migrating
        qemu.guest.migrating = True
        assert not await bench.hypervisor.set_target(guest.key, 300 * MIB)
        assert qemu.guest.target == guest.max
        (guest,) = await bench.until_seen("one")
        assert guest.migrating
        assert await bench.hypervisor.set_target(guest.key, guest.max)  # calling a shrink off may go through
        qemu.guest.migrating = False
        qemu.event("MIGRATION", status="cancelled")
        for _ in range(400):
            (guest,) = await bench.hypervisor.read()
            if not guest.migrating:
                break
            await asyncio.sleep(0.005)
        assert await bench.hypervisor.set_target(guest.key, 300 * MIB)


async def test_a_migration_that_is_announced_is_known_before_anybody_asks(bench: Bench) -> None:
    async with bench.qemu("one") as qemu:
        await bench.start()
        await bench.until_seen("one")
        qemu.guest.migrating = True
        qemu.event("MIGRATION", status="setup")
        for _ in range(400):
            (guest,) = await bench.hypervisor.read()
            if guest.migrating:
                return
            await asyncio.sleep(0.005)
        pytest.fail("the migration was never seen")


async def test_a_socket_whose_name_is_not_text_hides_nobody(bench: Bench) -> None:
    odd = bench.folder / os.fsdecode(b"\xff.qmp")
    async with FakeQemu(odd, FakeGuest("odd")), bench.qemu("good"):
        await bench.start()
        (guest,) = await bench.until_seen("good")
        msgspec.json.encode(guest)
        (problem,) = bench.hypervisor.problems()
        assert problem.where == f"{bench.folder}/\\xff.qmp"
        msgspec.json.encode(problem)
    odd.unlink(missing_ok=True)
    await bench.until(lambda: not bench.hypervisor.problems())
