"""The daemon as a user starts it, on real guests, when things go wrong."""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from autoballoon.core.model import Guest
from autoballoon.core.units import GIB, MIB, PAGE
from autoballoon.lab.accel import Accel
from autoballoon.lab.host import LabHost
from autoballoon.lab.image import GuestImage
from autoballoon.lab.instruments import SwapCounters
from autoballoon.lab.vm import Vm, VmSpec
from autoballoon.views.status import Status

from .conftest import StartGuests, all_of, qmp

pytestmark = pytest.mark.lab

LINE = 1 << 22


class _Reply(msgspec.Struct):
    ok: bool
    data: Status | None = None


class Daemon:
    """`autoballoon run` in a process of its own, over the guests of a lab host; `seen` is every tick so far."""

    def __init__(self, host: LabHost, folder: Path, *, agents: bool = False) -> None:
        self.socket = host.run / "control.sock"
        self.config = folder / "autoballoon.toml"
        self.log = folder / "autoballoon.log"
        globs = [f'{kind} = ["{host.run}/ctl/*.{kind}"]\n' for kind in ("agent", "qga")]
        heard = "".join(globs) if agents else ""
        self.config.write_text(
            f'[host]\ncapacity = "cgroup:{host.group.path}"\n'
            f'[connect]\nqmp = ["{host.run}/ctl/*.qmp"]\n{heard}[control]\nsocket = "{self.socket}"\n'
        )
        self.seen: list[Status] = []
        self.process: Process
        self._watch: asyncio.Task[None]

    def command(self) -> list[str]:
        """What is started."""
        return [sys.executable, "-m", "autoballoon", "run", "--config", str(self.config)]

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command(),
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(20):
            while not await self._answers():
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.1)
        self._watch = asyncio.create_task(self._look())

    async def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_unix_connection(self.socket)
            writer.close()
            return True
        return False

    async def _look(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self.socket, limit=LINE)
        try:
            writer.write(b'{"v":1,"id":1,"do":"watch"}\n')
            while line := await reader.readline():
                status = msgspec.json.decode(line, type=_Reply).data
                assert status is not None
                self.seen.append(status)
        finally:
            writer.close()

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(how)
        async with asyncio.timeout(6):
            code = await self.process.wait()
        await self._watch
        return code

    async def until(self, what: str, reached: Callable[[Status], bool], within_s: float = 30.0) -> Status:
        """The first tick from now on of which `reached` is true."""
        looked = len(self.seen)
        try:
            async with asyncio.timeout(within_s):
                while True:
                    for status in self.seen[looked:]:
                        if reached(status):
                            return status
                    looked = len(self.seen)
                    assert self.process.returncode is None, self.log.read_text()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            last = [(told.guest, told.target, told.reason, told.numbers) for told in self.seen[-1].decisions]
            says = f"{self.log.read_text()[-3000:]}\n{last}\n{self.seen[-1].daemon.account}"
            raise AssertionError(f"not within {within_s} s: {what}\n{says}") from None

    def shrinks(self, name: str, since: int = 0) -> list[str]:
        """What was said whenever the guest was made smaller, from the tick at index `since` on."""
        return [
            told.says
            for status in self.seen[since:]
            for told in status.decisions
            if told.guest == name and told.kind == "set-target" and (told.size or 0) < (told.before or 0)
        ]


@contextlib.asynccontextmanager
async def daemon_on(host: LabHost, folder: Path, *, agents: bool = False) -> AsyncIterator[Daemon]:
    """A daemon that is up; at the end it leaves by SIGTERM, in time and without a word of complaint."""
    daemon = Daemon(host, folder, agents=agents)
    await daemon.start()
    try:
        yield daemon
        assert await daemon.end() == 0
        assert "Traceback" not in daemon.log.read_text()
        assert not daemon.socket.exists()
    finally:
        with contextlib.suppress(ProcessLookupError):
            daemon.process.kill()
        await daemon.process.wait()


def named(status: Status, name: str) -> Guest | None:
    return next((guest for guest in status.snapshot.guests if guest.name == name), None)


def is_seen(*names: str) -> Callable[[Status], bool]:
    """The guests' statistics have come."""
    return lambda status: all((g := named(status, n)) is not None and g.available is not None for n in names)


def is_below(name: str, size: int) -> Callable[[Status], bool]:
    return lambda status: (guest := named(status, name)) is not None and guest.actual < size


async def take(guest: Vm, mib: int) -> None:
    guest.send(f"take {mib}")
    answer = await guest.expect("answer", timeout=60)
    assert answer.data["trouble"] == ""


async def test_memory_goes_where_it_is_needed_and_comes_back(
    start_guests: StartGuests, lab_host: LabHost, tmp_path: Path
) -> None:
    lab_host.group.limit(900 * MIB)
    first, second = await start_guests("first", "second", workload="eat")
    async with daemon_on(lab_host, tmp_path) as daemon:
        await daemon.until("statistics", is_seen("first", "second"))
        await take(first, 250)
        await daemon.until("the idle guest smaller", is_below("second", 350 * MIB))
        first.send("free")
        await first.expect("answer", timeout=30)
        await take(second, 250)
        status = await daemon.until("the other one smaller", is_below("first", 350 * MIB))
        assert status.daemon.account.guarantee
        assert status.daemon.dry_run is False
    # Leaving has handed back what was free.
    async with qmp(first) as client:
        reply = await client.execute("query-balloon")
        assert isinstance(reply, dict)
        assert reply["actual"] > 150 * MIB


async def test_a_guest_killed_while_it_shrinks_is_gone_and_the_others_are_served(
    start_guests: StartGuests, lab_host: LabHost, tmp_path: Path
) -> None:
    lab_host.group.limit(1000 * MIB)
    doomed, other = await start_guests("doomed", "other", workload="eat")
    async with daemon_on(lab_host, tmp_path) as daemon:
        await daemon.until("statistics", is_seen("doomed", "other"))
        other.send("take 300")
        await daemon.until("the other one shrinking", is_below("doomed", 500 * MIB))
        await doomed.kill()
        await daemon.until("its end seen", lambda status: named(status, "doomed") is None)
        await other.expect("answer", timeout=60)
        late = await daemon.until("all for the one left", is_seen("other"))
        assert late.daemon.account.guarantee
        await daemon.until(
            "what was freed given to it",
            lambda status: (guest := named(status, "other")) is not None and guest.actual > 450 * MIB,
        )


async def test_a_daemon_killed_outright_leaves_every_guest_its_need_and_the_next_goes_on(
    start_guests: StartGuests, lab_host: LabHost, tmp_path: Path
) -> None:
    lab_host.group.limit(900 * MIB)
    busy, idle = await start_guests("busy", "idle", workload="eat")
    async with daemon_on(lab_host, tmp_path) as daemon:
        await daemon.until("statistics", is_seen("busy", "idle"))
        await take(busy, 250)
        await daemon.until("a squeezed guest", is_below("idle", 350 * MIB))
        assert await daemon.end(signal.SIGKILL) == -signal.SIGKILL
        for guest in (busy, idle):
            guest.send("memory")
            answer = await guest.expect("answer", timeout=30)
            assert answer.data["available"] > 10 * MIB
        sizes = {guest.name: guest.actual for guest in daemon.seen[-1].snapshot.guests}

        before = len(daemon.seen)
        await daemon.start()
        first = await daemon.until("statistics again", is_seen("busy", "idle"))
        found = {guest.name: guest.actual for guest in first.snapshot.guests}
        assert found["idle"] < sizes["idle"] + 64 * MIB  # it goes on from where the guests are
        reasons = {told.reason for status in daemon.seen[before:] for told in status.decisions}
        assert "manual" not in reasons  # at first contact nothing was set by somebody else
        busy.send("free")
        await busy.expect("answer", timeout=30)
        await take(idle, 250)


async def test_a_guest_that_is_reset_is_not_moved_by_what_it_said_before(
    start_guests: StartGuests, lab_host: LabHost, tmp_path: Path
) -> None:
    lab_host.group.limit(900 * MIB)
    first, second = await start_guests("first", "second", workload="eat", may_reset=True)
    async with daemon_on(lab_host, tmp_path) as daemon:
        await daemon.until("statistics", is_seen("first", "second"))
        await take(second, 250)
        await daemon.until("a squeezed guest", is_below("first", 400 * MIB))
        since = len(daemon.seen)
        async with qmp(first) as client:
            await client.execute("system_reset")
        await daemon.until(
            "the reset seen",
            lambda status: (guest := named(status, "first")) is not None and guest.available is None,
        )
        await first.expect("ready", timeout=60)
        await daemon.until("statistics of its new life", is_seen("first"))
        for status in daemon.seen[since:]:
            guest = named(status, "first")
            assert guest is not None
            for told in status.decisions:
                shrunk = told.kind == "set-target" and (told.size or 0) < (told.before or 0)
                if told.guest == "first" and shrunk and guest.available is None:
                    assert told.reason == "boot"  # the one size that is set without a reading
        first.send("memory")
        assert (await first.expect("answer", timeout=30)).data["available"] > 10 * MIB


@pytest.mark.alone
async def test_a_frozen_qemu_is_left_alone_and_delays_nobody(
    start_guests: StartGuests, lab_host: LabHost, tmp_path: Path
) -> None:
    lab_host.group.limit(1000 * MIB)
    frozen, other = await start_guests("frozen", "other", workload="eat")
    async with daemon_on(lab_host, tmp_path) as daemon:
        await daemon.until("statistics", is_seen("frozen", "other"))
        frozen.stop()
        try:
            stale = await daemon.until(
                "old statistics",
                lambda status: (guest := named(status, "frozen")) is not None and (guest.age_s or 0) > 6,
            )
            since = len(daemon.seen)
            await take(other, 200)  # memory is wanted, and the frozen guest has plenty
            await asyncio.sleep(6)
            assert daemon.shrinks("frozen", since) == []
            assert all(named(status, "frozen") is not None for status in daemon.seen[since:])
            lateness = sorted(status.daemon.tick.late_s for status in daemon.seen[since:])
            assert lateness[len(lateness) // 2] < 0.1
            assert daemon.seen[-1].daemon.tick.number >= stale.daemon.tick.number + 6
        finally:
            frozen.cont()
        await daemon.until(
            "fresh statistics",
            lambda status: (guest := named(status, "frozen")) is not None and (guest.age_s or 99) < 2,
        )


@pytest.mark.alone
async def test_eight_guests_that_boot_at_once_do_not_make_the_host_swap(
    image: GuestImage, accel: Accel, tmp_path: Path
) -> None:
    async with (
        LabHost(limit=2000 * MIB, swap=2 * GIB, say=print) as host,
        daemon_on(host, tmp_path) as daemon,
    ):
        before = SwapCounters.read()
        specs = [VmSpec(name=f"guest-{n}", image=image, accel=accel, workload="eat") for n in range(8)]
        guests = await all_of(host.start_vm(spec) for spec in specs)
        for guest in guests:
            guest.send("read 250")  # 8 x 250 MiB of page cache, more than the host has
        for guest in guests:
            assert (await guest.expect("answer", timeout=120)).data["trouble"] == ""
        await daemon.until("all statistics", is_seen(*(guest.name for guest in guests)))
        status = await daemon.until("the guarantee", lambda status: status.daemon.account.guarantee)
        assert len(status.snapshot.guests) == 8
        assert all(guest.is_alive for guest in guests)
        swapped = SwapCounters.read().since(before)
        print(f"swapped in {swapped.in_pages} pages, out {swapped.out_pages}")
        assert (swapped.in_pages + swapped.out_pages) * PAGE < 4 * MIB
