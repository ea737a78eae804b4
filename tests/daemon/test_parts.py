"""What a configuration is made into on this very machine."""

import gc
from pathlib import Path

import pytest

from autoballoon.core.errors import BadInput
from autoballoon.core.units import MIB
from autoballoon.daemon.config import Config
from autoballoon.daemon.parts import assemble
from autoballoon.guests.hypervisor import sleep_on
from autoballoon.guests.libvirt import LibvirtHypervisor
from autoballoon.guests.qmp import QmpHypervisor
from tests.guests.fake_libvirt import FakeLibvirt


async def test_a_reload_keeps_the_sessions_of_sockets_that_stay(tmp_path: Path) -> None:
    config = Config(qmp=(f"{tmp_path}/*.qmp",))
    old = assemble(config, sleep_on)
    await old.start(sleep_on)
    same = assemble(Config(qmp=config.qmp, interval_s=0.5), sleep_on, old)
    other = assemble(Config(qmp=(f"{tmp_path}/more/*.qmp",)), sleep_on, old)
    assert same.hypervisors == old.hypervisors
    assert other.hypervisors != old.hypervisors
    assert same.processes is other.processes is old.processes
    await other.close()
    await old.close(keep=same)
    await same.start(sleep_on, running=old.hypervisors)
    await same.close()


async def test_a_reload_keeps_the_agents_of_sockets_that_stay(tmp_path: Path) -> None:
    config = Config(agent=(f"{tmp_path}/*.agent",))
    old = assemble(config, sleep_on)
    await old.start(sleep_on)
    same = assemble(Config(agent=config.agent, interval_s=0.5), sleep_on, old)
    other = assemble(Config(), sleep_on, old)
    assert same.agents is old.agents is same.senses.agents
    assert other.agents is not old.agents
    await old.close(keep=same)
    assert old.agents._rescan.runs, "they go on"
    await same.close()
    assert not old.agents._rescan.runs


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
        await old.close(keep=parts)
        await parts.start(sleep_on, running=old.hypervisors)
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
    other_sockets = assemble(Config(libvirt=("qemu:///system",), qmp=there), sleep_on, old)
    assert other_sockets.hypervisors[0] is old.hypervisors[0]
    assert other_sockets.hypervisors[1] is not old.hypervisors[1]
    other_uris = assemble(Config(libvirt=("qemu:///session",), qmp=here), sleep_on, old)
    assert other_uris.hypervisors[0] is not old.hypervisors[0]
    assert other_uris.hypervisors[1] is old.hypervisors[1]
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
