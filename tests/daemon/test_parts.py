"""What a configuration is made into on this very machine."""

import asyncio
import gc
import os
from pathlib import Path

import pytest

from autoballoon.core.errors import BadInput
from autoballoon.core.units import MIB
from autoballoon.daemon.config import Config
from autoballoon.daemon.parts import assemble
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.hypervisor import sleep_on
from autoballoon.guests.libvirt import LibvirtHypervisor
from autoballoon.guests.qmp import QmpHypervisor
from tests.guests.fake_libvirt import FakeLibvirt
from tests.guests.fake_qmp import FakeQemu


async def test_a_reload_keeps_the_sessions_of_sockets_that_stay(tmp_path: Path) -> None:
    here, there = f"{tmp_path}/*.qmp", f"{tmp_path}/more/*.qmp"
    (tmp_path / "more").mkdir()
    first, second = (
        FakeQemu(tmp_path / "a.qmp", FakeGuest("a")),
        FakeQemu(tmp_path / "more/b.qmp", FakeGuest("b")),
    )
    async with first, second:
        old = assemble(Config(qmp=(here,)), sleep_on)
        await old.start(sleep_on)
        for qmp, names in (((here,), {"a"}), ((here, there), {"a", "b"}), ((there,), {"b"}), ((), set())):
            new = assemble(Config(qmp=qmp, interval_s=0.5), sleep_on, old)
            assert new.hypervisors == old.hypervisors and new.processes is old.processes
            await new.start(sleep_on, running=old.hypervisors)
            await old.close(keep=new)
            old = new
            seen: set[str] = set()
            for _ in range(100):
                seen = {guest.name for guest in await new.hypervisors[0].read()}
                if seen == names:
                    break
                await asyncio.sleep(0.01)
            assert seen == names
        assert first.clients == second.clients == 1, "a socket that stays is not connected to again"
        await old.close()


async def test_a_reload_keeps_the_agents_of_sockets_that_stay(tmp_path: Path) -> None:
    config = Config(agent=(f"{tmp_path}/*.agent",))
    old = assemble(config, sleep_on)
    await old.start(sleep_on)
    same = assemble(Config(agent=config.agent, interval_s=0.5), sleep_on, old)
    assert same.agents is old.agents is same.senses.agents
    await same.start(sleep_on, running=old.hypervisors)
    await old.close(keep=same)
    assert same.agents._rescan.runs, "they go on"
    assert same.agents._globs == (config.agent, ())
    other = assemble(Config(qga=(f"{tmp_path}/*.qga",)), sleep_on, same)
    await other.start(sleep_on, running=same.hypervisors)
    assert other.agents._globs == ((), (f"{tmp_path}/*.qga",))
    await same.close(keep=other)
    await other.close()
    assert not other.agents._rescan.runs


async def test_a_hundred_reloads_leave_no_file_open(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    parts = assemble(Config(qmp=(f"{tmp_path}/*.qmp",), capacity=512 * MIB), sleep_on)
    await parts.start(sleep_on)
    gc.collect()  # what an earlier test left to it may hold files
    before = open_files()
    for number in range(100):
        config = Config(qmp=(f"{tmp_path}/{number % 2}*.qmp",), capacity=512 * MIB)
        old, parts = parts, assemble(config, sleep_on, parts)
        await parts.start(sleep_on, running=old.hypervisors)
        await old.close(keep=parts)
    assert open_files() == before
    await parts.close()


async def test_a_reload_keeps_the_connections_of_uris_that_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = FakeLibvirt(lambda: 0.0)
    monkeypatch.setattr("autoballoon.guests.libvirt.load_libvirt", lambda: api)
    here, there = (f"{tmp_path}/*.qmp",), (f"{tmp_path}/more/*.qmp",)
    old = assemble(Config(libvirt=("qemu:///system",), qmp=here), sleep_on)
    assert [type(one) for one in old.hypervisors] == [LibvirtHypervisor, QmpHypervisor]
    for uri, qmp in (("qemu:///system", there), ("qemu:///session", here)):
        other = assemble(Config(libvirt=(uri,), qmp=qmp), sleep_on, old)
        assert other.hypervisors == old.hypervisors
    none = assemble(Config(qmp=here), sleep_on, old)
    assert none.hypervisors == old.hypervisors[1:]
    await old.close()


@pytest.mark.parametrize("folder", ["/run/qemu-server", "/var/lib/libvirt/qemu"])
def test_sockets_of_other_managers_are_refused(folder: str) -> None:
    with pytest.raises(BadInput, match=r"\[connect\] qmp"):
        assemble(Config(qmp=(f"{folder}/*.sock",)), sleep_on)
    with pytest.raises(BadInput, match=r"\[connect\] agent"):
        assemble(Config(agent=(f"{folder}/*.sock",)), sleep_on)


def test_a_link_into_another_managers_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "guest.qmp").symlink_to("/run/qemu-server/100.qmp")
    with pytest.raises(BadInput, match="Proxmox"):
        assemble(Config(qmp=(f"{tmp_path}/*.qmp",)), sleep_on)


async def test_smaps_is_read_beside_the_ticks(tmp_path: Path) -> None:
    parts = assemble(Config(qmp=(f"{tmp_path}/*.qmp",)), sleep_on)
    memory = parts.processes.read(os.getpid(), 128 * MIB)
    assert memory is not None and memory.overhead is None, "not read yet"
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    memory = parts.processes.read(os.getpid(), 128 * MIB)
    assert memory is not None and memory.overhead is not None
    await parts.close()
