"""QEMU's command line and the guest's own disk, without QEMU."""

from pathlib import Path

import msgspec
import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import MIB
from autoballoon.lab import vm
from autoballoon.lab.accel import KVM, TCG
from autoballoon.lab.image import GuestImage
from autoballoon.lab.vm import Vm, VmSpec, command

IMAGE = GuestImage(
    kernel=Path("/cache/vmlinuz"),
    initrd=Path("/cache/initrd"),
    disk=Path("/cache/disk"),
    kernel_version="6.1.0-50-cloud-amd64",
)
CTL, EYE = Path("/run/ctl/g.qmp"), Path("/run/eye/g.qmp")


def words(spec: VmSpec, swap: Path | None = None) -> list[str]:
    return command(spec, CTL, EYE, swap)


def test_a_guest_has_the_size_and_the_parameters_that_it_is_given() -> None:
    said = words(VmSpec(name="g", image=IMAGE, accel=TCG, memory_mib=768, params={"anon_mib": 375}))
    assert said[said.index("-m") + 1] == "768"
    assert "ab.anon_mib=375" in said[said.index("-append") + 1]


def test_a_swap_disk_comes_after_the_data_and_the_kernel_is_told() -> None:
    spec = VmSpec(name="g", image=IMAGE, accel=TCG, swap_mib=512)
    said, plain = words(spec, Path("/cache/scratch-7/g.swap")), words(spec)
    drives = [said[n + 1] for n, word in enumerate(said) if word == "-drive"]
    assert [drive.partition(",")[0] for drive in drives] == [
        "file=/cache/disk",
        "file=/cache/scratch-7/g.swap",
    ]
    assert "readonly" not in drives[1] and "cache=none" in drives[1]
    assert "ab.swap=vdb" in said[said.index("-append") + 1]
    assert plain.count("-drive") == 1 and "ab.swap" not in plain[plain.index("-append") + 1]


def test_a_driver_of_ours_is_named_to_the_guest_with_its_mode() -> None:
    ours, stock = (
        words(VmSpec(name="g", image=IMAGE, accel=TCG, driver="pressure")),
        words(VmSpec("g", IMAGE, TCG)),
    )
    assert "ab.driver=pressure" in ours[ours.index("-append") + 1].split()
    assert "ab.driver" not in stock[stock.index("-append") + 1]


def test_a_newer_kernel_has_a_processor_that_qemu_emulates_well() -> None:
    newer = msgspec.structs.replace(IMAGE, kernel_version="6.12.95+deb12-cloud-amd64")
    said = words(VmSpec("g", newer, TCG))
    assert said[said.index("-cpu") + 1] == vm.PLAIN_CPU
    assert "-cpu" not in words(VmSpec("g", newer, KVM)) and "-cpu" not in words(VmSpec("g", IMAGE, TCG))


def test_shared_disks_come_before_the_swap_and_the_guest_is_told_where_they_belong() -> None:
    disks = {"/userland": Path("/cache/u"), "/userland/project": Path("/tmp/p")}
    spec = VmSpec(name="g", image=IMAGE, accel=TCG, swap_mib=64, disks=disks, boot=("cgroup_no_v1=all",))
    said = words(spec, Path("/cache/scratch-7/g.swap"))
    kernel = said[said.index("-append") + 1].split()
    assert [word for word in kernel if word.startswith(("ab.disk", "ab.swap"))] == [
        "ab.disk=vda:/disk", "ab.disk=vdb:/userland", "ab.disk=vdc:/userland/project", "ab.swap=vdd",
    ]  # fmt: skip
    assert "cgroup_no_v1=all" in kernel
    drives = [said[n + 1] for n, word in enumerate(said) if word == "-drive"]
    assert ["readonly=on" in drive for drive in drives] == [True, True, True, False]
    assert all("cache=none" in drive for drive in drives)


async def test_a_disk_is_as_new_at_each_start_and_takes_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vm, "QEMU", "true")
    spec = VmSpec(name="g", image=IMAGE, accel=TCG, swap_mib=64)
    disk = tmp_path / "scratch" / "g.swap"
    for _ in range(2):
        async with await Vm.start(spec, tmp_path / "run", (), disk.parent) as started:
            await started.wait()
        assert (disk.stat().st_size, disk.stat().st_blocks) == (64 * MIB, 0)
        assert disk.stat().st_mode & 0o077 == 0
        disk.write_bytes(b"x" * 2 * MIB)


async def test_a_guest_without_swap_leaves_no_scratch_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vm, "QEMU", "true")
    spec = VmSpec(name="g", image=IMAGE, accel=TCG)
    async with await Vm.start(spec, tmp_path / "run", (), tmp_path / "scratch") as started:
        await started.wait()
    assert not (tmp_path / "scratch").exists()


async def test_a_guest_whose_sockets_or_disk_have_no_place_is_not_started(tmp_path: Path) -> None:
    spec = VmSpec(name="g", image=IMAGE, accel=TCG, swap_mib=64)
    (tmp_path / "file").touch()
    with pytest.raises(CouldNot, match=r"g\.qmp cannot be written .*; the lab needs root and room in /run"):
        await Vm.start(spec, tmp_path / "file" / "run", (), tmp_path / "scratch")
    with pytest.raises(
        CouldNot, match=r"g\.swap cannot be written .* point AUTOBALLOON_CACHE at another disk"
    ):
        await Vm.start(spec, tmp_path / "run", (), tmp_path / "file")
