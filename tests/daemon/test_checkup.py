"""What doctor gathers: from sockets, from a daemon's status, and from QEMU's processes."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from autoballoon.core.facts import Complaint, GuestFacts, Lack
from autoballoon.core.model import Guest, Host, Snapshot
from autoballoon.core.pool import Account
from autoballoon.core.units import GIB, MIB
from autoballoon.daemon import checkup
from autoballoon.daemon.checkup import SECOND_LOOK_S, gather
from autoballoon.daemon.config import Config, parse
from autoballoon.guests import libvirt_checkup
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.libvirt_checkup import Domain
from autoballoon.host.qemu import all_qemus
from autoballoon.views.status import DaemonStatus, Status, Tick, Trouble, books
from tests.guests.fake_qmp import FakeQemu
from tests.host.groups_v2 import Tree

STATUS = "VmLck:\t 0 kB\nHugetlbPages:\t 0 kB\nMems_allowed_list:\t0\nRssAnon:\t 204800 kB\nVmPTE:\t 0 kB\n"
UUID = "03a38c53-633c-4266-813a-c0208a2e2041"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 8000 kB\nMemAvailable: 5000 kB\nSwapTotal: 0 kB\n")
    (root / "proc/uptime").write_text("1000.0 1.0\n")
    return root


def run_qemu(root: Path, pid: int, *words: str) -> None:
    folder = root / "proc" / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"".join(w.encode() + b"\0" for w in ("qemu-system-x86_64", *words)))
    (folder / "comm").write_text("qemu-system-x86\n")
    (folder / "status").write_text(f"Name:\tqemu\n{STATUS}")
    (folder / "stat").write_text(f"{pid} (qemu) S " + "0 " * 18 + "100 0 0\n")


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[FakeQemu]:
    async with FakeQemu(tmp_path / "web.qmp", FakeGuest("web"), clock=time.time) as qemu:
        yield qemu


def status(*guests: Guest, problems: tuple[Trouble, ...] = ()) -> Status:
    account = Account(capacity=GIB, available=0, reserve=0, other=0, pool=GIB, charges=0)
    daemon = DaemonStatus(
        "0", 9, "ladder", False, 1.0, 10.0, Tick(1, "interval", 0, 0), books(account), problems
    )
    return Status(daemon, Snapshot(Host(GIB, GIB), guests), ())


async def test_a_socket_and_its_process_are_one_guest(root: Path, web: FakeQemu) -> None:
    run_qemu(
        root, 40, "-qmp", f"unix:{web.path},server=on", "-device", "virtio-balloon-pci,free-page-reporting=on"
    )
    run_qemu(root, 41, "-name", "stray", "-kernel", "x")
    facts = await gather(parse(f'[connect]\nqmp = ["{web.path.parent}/*.qmp"]'), None, root)
    assert (facts.daemon, facts.configured) == (False, True)
    known, stray = facts.guests
    assert (known.name, known.pid, known.driver, known.reporting) == ("web", 40, True, True)
    assert known.resident == 200 * MIB
    assert (stray.name, stray.seen, stray.balloon) == ("stray", False, False)


async def test_with_a_daemon_no_socket_is_touched(root: Path, web: FakeQemu) -> None:
    run_qemu(
        root, 40, "-qmp", f"unix:{web.path},server=on", "-device", "virtio-balloon-pci,deflate-on-oom=on"
    )
    guest = Guest(
        str(web.path),
        "web",
        512 * MIB,
        256 * MIB,
        pid=40,
        age_s=0.4,
        driver=True,
        resident=300 * MIB,
        period_s=60,
    )
    asked = status(guest, problems=(Trouble("host", "no trigger"),))
    facts = await gather(parse(f'[connect]\nqmp = ["{web.path}"]'), asked, root)
    assert web.clients == 0
    (known,) = facts.guests
    assert (known.actual, known.resident, known.autodeflate, known.reporting) == (
        256 * MIB, 200 * MIB, True, False,
    )  # fmt: skip
    assert known.period_s == 60, "as the daemon knows it, whoever set it"
    assert facts.said == (Complaint("host", "no trigger"),)


async def test_a_guest_without_a_balloon_is_known_through_the_daemon_by_its_command_line(root: Path) -> None:
    run_qemu(root, 40, "-qmp", "unix:/run/a.qmp,server=on")
    facts = await gather(None, status(Guest("/run/a.qmp", "a", GIB, GIB, pid=40, managed=False)), root)
    (known,) = facts.guests
    assert (known.balloon, known.managed) == (False, True)


@pytest.mark.parametrize(
    ("about", "answered"),
    [
        ({"up_s": 31.0}, False),
        ({"up_s": 29.0}, None),
        ({"up_s": None}, None),
        ({"up_s": 31.0, "age_s": 7.0}, True),
        ({"up_s": 31.0, "running": False}, None),
        ({"up_s": 31.0, "managed": False}, None),
        ({"up_s": 31.0, "driver": False}, None),
        ({"up_s": 1.0, "driver": True}, False),
    ],
)
async def test_whether_a_guest_of_the_daemon_ever_sent_statistics(
    root: Path, about: dict[str, Any], answered: bool | None
) -> None:
    """Of QEMU before 7.2, and of libvirt, nobody learns whether the driver is up."""
    facts = await gather(None, status(Guest("/run/a.qmp", "a", GIB, GIB, pid=40, **about)), root)
    assert [guest.answered for guest in facts.guests] == [answered]


async def test_proc_alone(root: Path) -> None:
    run_qemu(root, 40, "-name", "a", "-device", "virtio-balloon-pci,guest-stats-polling-interval=5")
    facts = await gather(None, None, root)
    (known,) = facts.guests
    assert (facts.configured, known.key, known.balloon, known.period_s) == (False, "pid 40", True, 5)


async def test_whom_the_configuration_leaves_alone(root: Path, web: FakeQemu) -> None:
    config = parse(f'[connect]\nqmp = ["{web.path}"]\n[guests."w*"]\nmanage = false')
    facts = await gather(config, None, root)
    assert [guest.managed for guest in facts.guests] == [False]


async def test_floors_and_what_there_is_for_them(root: Path, web: FakeQemu) -> None:
    config = parse(f'[connect]\nqmp = ["{web.path}"]\n[host]\nreserve = "25%"\n[defaults]\nfloor = "50%"\n')
    facts = await gather(config, None, root)
    (guest,) = facts.guests
    assert (guest.floor, facts.host.pool) == (256 * MIB, 6000 << 10)
    told = status(Guest("k", "web", GIB, GIB, floor=GIB // 4))
    facts = await gather(None, told, root)
    assert (facts.guests[0].floor, facts.host.pool) == (GIB // 4, GIB)


async def test_a_socket_of_another_manager_is_not_opened(
    root: Path, web: FakeQemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "other_managers_socket", lambda path: f"{path} is the monitor of libvirt")
    facts = await gather(parse(f'[connect]\nqmp = ["{web.path}"]'), None, root)
    assert web.clients == 0
    assert [guest.owned for guest in facts.guests] == [f"{web.path} is the monitor of libvirt"]


async def test_a_guest_held_above_its_size_is_looked_at_twice(root: Path, web: FakeQemu) -> None:
    run_qemu(root, 40, "-qmp", f"unix:{web.path},server=on", "-device", "virtio-balloon-pci")
    web.guest.actual = web.guest.target = 100 * MIB
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        (root / "proc/40/status").write_text(f"Name:\tqemu\n{STATUS.replace('204800', '51200')}")

    facts = await gather(parse(f'[connect]\nqmp = ["{web.path}"]'), None, root, sleep)
    assert slept == [SECOND_LOOK_S]
    assert [guest.resident for guest in facts.guests] == [50 * MIB]


async def test_who_cannot_be_contained_where_that_is_configured(root: Path, web: FakeQemu) -> None:
    tree = Tree(root)
    tree.group("vms")
    tree.group("vms/web", 40, 44)
    tree.process(40, "vms/web")
    run_qemu(root, 40, "-qmp", f"unix:{web.path},server=on", "-device", "virtio-balloon-pci")
    connect = f'[connect]\nqmp = ["{web.path}"]'
    config = parse(f"{connect}\n[host]\ncontain = true")
    (shared,) = (await gather(config, None, root)).guests
    assert shared.uncontained is not None
    assert (shared.uncontained.lack, "(pid 44)" in shared.uncontained.why) == (Lack.SHARED, True)
    assert (await gather(parse(connect), None, root)).guests[0].uncontained is None
    tree.group("vms/web", 40)
    assert (await gather(config, None, root)).guests[0].uncontained is None
    (root / "proc/self/mounts").write_text("cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n")
    facts = await gather(config, None, root)
    assert "memory.high" in (facts.host.contain or "")
    assert facts.guests[0].uncontained is None


async def test_a_domain_that_has_a_socket_too_is_one_guest(
    root: Path, web: FakeQemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_qemu(root, 40, "-uuid", UUID, "-qmp", f"unix:{web.path},server=on", "-device", "virtio-balloon-pci")

    async def one_domain(config: object, said: object) -> list[GuestFacts]:
        return [GuestFacts(f"qemu:///system {UUID}", "one")]

    monkeypatch.setattr(checkup, "_domains", one_domain)
    facts = await gather(parse(f'[connect]\nqmp = ["{web.path}"]'), None, root)
    assert [(guest.name, guest.pid) for guest in facts.guests] == [("one", 40)]


async def test_domains_of_libvirt_are_joined_by_their_uuid(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_qemu(root, 40, "-uuid", UUID, "-device", "virtio-balloon-pci")
    run_qemu(root, 41, "-uuid", UUID.replace("0", "1"))

    async def domains(uri: str) -> list[Domain] | str:
        return [Domain(UUID, "one", True, period_s=0)] if uri == "a:///" else f"{uri} is closed"

    monkeypatch.setattr(libvirt_checkup, "domains", domains)
    said: list[Complaint] = []
    guests = await checkup._domains(Config(libvirt=("a:///", "b:///")), said)
    joined = [checkup._joined(one, checkup._process_of(one, all_qemus(root))) for one in guests]
    assert [(one.name, one.pid, one.period_s) for one in joined] == [("one", 40, 0)]
    assert said == [Complaint("b:///", "b:/// is closed")]
