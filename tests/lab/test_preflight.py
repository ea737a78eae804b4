"""How many guests fit."""

import pytest

from autoballoon.core.errors import BadInput, CouldNot
from autoballoon.core.units import GIB, MIB
from autoballoon.lab.preflight import Machine, must_limit, preflight, room


def fitting(memory: int, disk: int = 100 * GIB) -> tuple[int, str | None]:
    found = room(Machine(memory=memory, disk=disk), guests=8, guest_size=600 * MIB, swap=4 * GIB)
    return found.guests, found.says


def test_all_of_them_where_there_is_room() -> None:
    assert fitting(24 * GIB) == (8, None)


def test_fewer_where_memory_is_short_and_a_sentence() -> None:
    assert fitting(4 * GIB) == (5, "5 guests instead of 8: only 4096 MiB of memory are available")


def test_fewer_where_the_disk_is_short() -> None:
    guests, says = fitting(24 * GIB, disk=4 * GIB)
    assert guests == 5
    assert says is not None
    assert says.startswith("5 guests instead of 8: only 4096 MiB are free on the disk of ")


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


def test_a_host_as_large_as_the_machine_is_refused() -> None:
    must_limit(8 * GIB - 1, total=8 * GIB)
    with pytest.raises(
        BadInput, match=r"a host of 1024\.0 GiB is no smaller .* of 8192 MiB; give a smaller --limit"
    ):
        must_limit(1024 * GIB, total=8 * GIB)
