"""How many guests fit."""

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.units import GIB, MIB
from autoballoon.lab.preflight import Machine, must_limit, must_swap, preflight, room
from autoballoon.lab.tidy import Note
from autoballoon.lab.vm import QEMU


def fitting(memory: int, disk: int = 100 * GIB) -> tuple[int, str | None]:
    found = room(Machine(memory=memory, disk=disk), guests=8, guest_size=600 * MIB, swap=4 * GIB)
    return found.guests, found.says


def test_all_of_them_where_there_is_room() -> None:
    assert fitting(24 * GIB) == (8, None)


def test_fewer_where_memory_is_short_and_a_sentence() -> None:
    assert fitting(4 * GIB) == (
        5,
        "5 guests instead of 8, on a host as much smaller: only 4096 MiB of memory are available",
    )


def test_fewer_where_the_disk_is_short() -> None:
    guests, says = fitting(24 * GIB, disk=4 * GIB)
    assert guests == 5
    assert says is not None
    assert says.startswith(
        "5 guests instead of 8, on a host as much smaller: only 4096 MiB are free on the disk of "
    )


@pytest.mark.parametrize(("memory", "disk"), [(2 * GIB, 100 * GIB), (24 * GIB, 2 * GIB), (0, 0)])
def test_fewer_than_three_are_refused(memory: int, disk: int) -> None:
    with pytest.raises(CouldNot, match="too little for 3 guests"):
        fitting(memory, disk)


def test_without_root_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(CouldNot, match="run it as root"):
        preflight(guests=8, guest_size=GIB, swap=GIB, beside=True)


def test_without_qemu_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        CouldNot, match="qemu-system-x86_64 is not installed; install it with: apt-get install"
    ):
        preflight(guests=8, guest_size=GIB, swap=GIB, beside=True)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of programs, with a QEMU that only waits, of a machine on which we are root."""
    shutil.copy(shutil.which("sleep") or "", tmp_path / QEMU)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AUTOBALLOON_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("name", ["kvm", QEMU])
def test_beside_somebody_elses_guests_it_does_not_begin(tools: Path, name: str) -> None:
    """Proxmox starts its guests as `kvm`, which is a link to QEMU: that is what the process is called then."""
    if name != QEMU:
        (tools / name).symlink_to(QEMU)
    with subprocess.Popen([tools / name, "infinity"]) as guest:
        try:
            with pytest.raises(
                CouldNot, match=rf"other QEMU processes run here \(.*\b{guest.pid}\b.*--beside"
            ):
                preflight(guests=8, guest_size=GIB, swap=GIB, beside=False)
        finally:
            guest.kill()


def swapping(tools: Path, swapon: str) -> None:
    for name, body in (("mkswap", "exit 0"), ("swapon", swapon)):
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)


def test_where_nobody_may_swap_it_says_so_and_leaves_nothing(tools: Path) -> None:
    swapping(tools, "echo 'swapon: Operation not permitted' >&2; exit 255")
    with pytest.raises(
        CouldNot, match=r"the lab cannot swap here: `swapon .* failed: swapon: Operation not permitted"
    ):
        must_swap(tools / "notes")
    assert list((tools / "cache").iterdir()) == []


def test_a_trial_that_is_killed_is_noted_for_the_next_lab(tools: Path) -> None:
    notes = tools / "notes"
    swapping(
        tools,
        f'for note in {notes}/*.json; do read -r said < "$note"; echo "$said $2 $3" > {tools}/seen; done',
    )
    must_swap(notes)
    noted, _, swap = (tools / "seen").read_text().split()
    assert msgspec.json.decode(noted, type=Note).swap == swap
    assert [list(folder.iterdir()) for folder in (notes, tools / "cache")] == [[], []]


def test_a_trial_that_is_interrupted_leaves_nothing(tools: Path) -> None:
    swapping(tools, "kill -INT $$")
    with pytest.raises(KeyboardInterrupt):
        must_swap(tools / "notes")
    assert list((tools / "cache").iterdir()) == []


def test_a_host_as_large_as_the_machine_is_refused() -> None:
    must_limit(8 * GIB - 1, total=8 * GIB)
    with pytest.raises(
        BadInput, match=r"a host of 1024\.0 GiB is no smaller .* of 8192 MiB; give a smaller --limit"
    ):
        must_limit(1024 * GIB, total=8 * GIB)
