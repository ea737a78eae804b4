"""The daemon as a user starts it, on the guests of a libvirtd of its own, when things happen to them."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from autoballoon.core.units import GIB, MIB
from autoballoon.lab.commands import run
from autoballoon.lab.host import LabHost
from autoballoon.lab.image import GuestImage, build_image
from autoballoon.lab.userland import PYTHON, agent_source, build_userland
from autoballoon.views.status import Status

from .libvirtd import Libvirtd, apart
from .test_daemon_real import Daemon, is_below, is_seen, named

pytestmark = pytest.mark.lab

AUTOBALLOON = Path(sys.executable).with_name("autoballoon")
HOOK = (
    f"#!/bin/sh\nexport AUTOBALLOON_SOCKET={{socket}} AUTOBALLOON={AUTOBALLOON} AUTOBALLOON_ROOM_TIMEOUT=20\n"
    f'exec {Path(__file__).resolve().parents[2]}/packaging/hooks/qemu "$@"\n'
)
TWIN = "<qemu:arg value='-qmp'/><qemu:arg value='unix:{socket},server=on,wait=off'/>"


class LibvirtDaemon(Daemon):
    """A daemon with one libvirt connection, and a glob that matches a second socket of one of its domains."""

    def __init__(self, host: LabHost, libvirtd: Libvirtd, folder: Path) -> None:
        super().__init__(host, folder)
        self.socket = libvirtd.folder / "control.sock"  # the hook is to reach it, and that is another user's
        self.config.write_text(
            f'[host]\ncapacity = "cgroup:{host.group.path}"\n'
            f'[connect]\nlibvirt = ["{libvirtd.uri}"]\nqmp = ["{libvirtd.folder}/*.qmp"]\n'
            f'[control]\nsocket = "{self.socket}"\n'
        )


@pytest.fixture
async def libvirtd(image: GuestImage) -> AsyncIterator[Libvirtd]:
    pytest.importorskip("libvirt", reason="python3-libvirt is not installed")
    daemon = Libvirtd(build_image(print, agent=agent_source()))
    try:
        yield daemon
    finally:
        await apart(daemon.close)


@contextlib.asynccontextmanager
async def running(daemon: Daemon) -> AsyncIterator[None]:
    await daemon.start()
    try:
        yield
        assert await daemon.end() == 0
        assert "Traceback" not in daemon.log.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            daemon.process.kill()
        await daemon.process.wait()


def is_fresh(*names: str) -> Callable[[Status], bool]:
    return lambda status: all((g := named(status, n)) is not None and (g.age_s or 99) < 2.5 for n in names)


def was_read_since(earlier: Status, status: Status, *names: str) -> bool:
    """The guests' statistics are younger than an earlier tick; those from before a loss are fresh for a while too."""
    waited = status.daemon.tick.at_s - earlier.daemon.tick.at_s
    return all((g := named(status, n)) is not None and (g.age_s or 99) < waited for n in names)


def hears(name: str) -> Callable[[Status], bool]:
    """Its agent has said something, at the channel that its XML names: the configuration names none."""
    return lambda status: (
        (agent := status.daemon.agents.get(name)) is not None
        and agent.lines > 2
        and (guest := named(status, name)) is not None
        and guest.refaults is not None
    )


def is_well(status: Status) -> bool:
    """libvirt and its guests are; the second socket of one may take longer to be connected to again."""
    return not any(problem.where.startswith("qemu:") for problem in status.daemon.problems)


def complains(words: str) -> Callable[[Status], bool]:
    return lambda status: any(words in problem.says for problem in status.daemon.problems)


async def test_two_domains_live_through_what_happens_to_domains(
    image: GuestImage, libvirtd: Libvirtd, tmp_path: Path
) -> None:
    async with LabHost(limit=1000 * MIB, swap=GIB, say=print) as host:
        daemon = LibvirtDaemon(host, libvirtd, tmp_path)
        await apart(libvirtd.start, host.group.procs, HOOK.format(socket=daemon.socket))
        async with running(daemon):
            daemon.socket.chmod(0o666)
            twin = TWIN.format(socket=libvirtd.folder / "two.qmp")
            carries = await apart(libvirtd.carry_agent, build_userland(PYTHON, print))
            await apart(libvirtd.create, "one")
            await daemon.until("one seen", is_seen("one"))
            since = len(daemon.seen)
            await apart(lambda: libvirtd.create("two", more=twin, **carries))
            assert all(is_fresh("one")(status) for status in daemon.seen[since:]), (
                "while libvirt waits for its hook"
            )

            status = await daemon.until("both seen", is_seen("one", "two"))
            assert len(status.snapshot.guests) == 2, "a domain with a socket of its own is one guest"
            for name in ("one", "two"):
                guest = named(status, name)
                assert guest is not None and guest.pid == libvirtd.pid(name)
                assert guest.key.startswith(libvirtd.uri + "#") and guest.resident
            assert_room_was_made(daemon)
            host.group.limit(700 * MIB)
            await daemon.until(
                "both smaller", lambda s: is_below("one", 480 * MIB)(s) and is_below("two", 480 * MIB)(s)
            )

            heard = await daemon.until("the agent heard", hears("two"), 40)
            assert set(heard.daemon.agents) == {"two"}

            # Room for the second domain may have brought this one down to its floor, below what the operator sets.
            host.group.limit(1000 * MIB)
            await apart(run, [AUTOBALLOON, "set", "one", "floor=260MiB", "--socket", daemon.socket])
            # The second one has just booted: what it need not give yet may be what this one lacks.
            await daemon.until(
                "back", lambda s: (g := named(s, "one")) is not None and g.actual >= 260 * MIB, 60
            )
            await apart(run, [AUTOBALLOON, "set", "one", "floor=128MiB", "--socket", daemon.socket])

            await apart(libvirtd.virsh, "setmem", "one", "180MiB", "--live")
            await daemon.until(
                "what the operator set adopted",
                lambda status: any(t.guest == "one" and t.reason == "manual" for t in status.decisions),
            )
            host.group.limit(2 * GIB)
            await daemon.until(
                "the other one larger", lambda s: (g := named(s, "two")) is not None and g.actual > 480 * MIB
            )
            one = named(daemon.seen[-1], "one")
            assert one is not None and one.actual <= 181 * MIB, "what the operator set is a ceiling"

            await apart(libvirtd.virsh, "reset", "two")
            await daemon.until(
                "the reset seen", lambda s: (g := named(s, "two")) is not None and g.available is None
            )
            await daemon.until("statistics of its new life", is_seen("two"))

            await apart(libvirtd.stop)
            lost = await daemon.until("the loss told", complains("it is tried again"))
            assert {guest.name for guest in lost.snapshot.guests} == {"one", "two"}
            await apart(libvirtd.start, host.group.procs)
            well = await daemon.until("connected again", is_well)
            back = await daemon.until(
                "statistics since", lambda s: is_well(s) and was_read_since(well, s, "one", "two")
            )
            assert [guest.key for guest in back.snapshot.guests] == [
                guest.key for guest in lost.snapshot.guests
            ]

            await is_left_alone_while_frozen(daemon, libvirtd.pid("two"))
            await apart(libvirtd.virsh, "destroy", "one")
            await daemon.until("its end seen", lambda status: named(status, "one") is None)
        assert "<stats period" not in await apart(libvirtd.virsh, "dumpxml", "two"), "given back"


def assert_room_was_made(daemon: Daemon) -> None:
    """libvirt's hook had room made for each domain before it started, and that is used now.

    For the second it waited, with its domain locked by libvirt, until the first had booted and given what it does not
    need.
    """
    told = daemon.log.read_text()
    assert told.count("asked for: room 512 MiB for one\n") == 1, told
    assert told.count("asked for: room 512 MiB for two\n") == 1, told
    assert told.count("room 512 MiB: its guest has come") == 2, told


async def is_left_alone_while_frozen(daemon: Daemon, pid: int) -> None:
    """The domain two, whose QEMU is stopped: it is told, nobody waits for it, and it goes on as if nothing had been."""
    os.kill(pid, signal.SIGSTOP)
    since = len(daemon.seen)
    await daemon.until(
        "a frozen QEMU told",
        lambda s: complains("not come back (two")(s) and complains("does not answer libvirt")(s),
    )
    await asyncio.sleep(4)
    frozen = daemon.seen[-1]
    assert is_fresh("one")(frozen) and not is_fresh("two")(frozen)
    assert max(status.daemon.tick.late_s for status in daemon.seen[since:]) < 0.25
    assert frozen.daemon.tick.number >= daemon.seen[since].daemon.tick.number + 4
    assert daemon.shrinks("two", since) == []
    os.kill(pid, signal.SIGCONT)
    await daemon.until("all well again", lambda s: is_fresh("one", "two")(s) and is_well(s))
