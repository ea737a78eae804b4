"""The QEMU of a libvirt domain is found by its UUID, or not claimed."""

from pathlib import Path

import pytest

from autoballoon.host.find_domain import qemu_of_domain

UUID = "03a38c53-633c-4266-813a-c0208a2e2041"
QEMU = "/usr/bin/qemu-system-x86_64"
FOLDER = "/run/libvirt/qemu"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "run/libvirt/qemu").mkdir(parents=True)
    return tmp_path


def process(root: Path, pid: int, *words: str, exe: str = QEMU) -> None:
    folder = root / "proc" / str(pid)
    folder.mkdir()
    (folder / "exe").symlink_to(exe)
    (folder / "comm").write_text(f"{Path(exe).name[:15]}\n")
    (folder / "cmdline").write_bytes("".join(f"{word}\0" for word in (exe, *words)).encode())


def written(root: Path, text: str) -> None:
    (root / "run/libvirt/qemu/one.pid").write_text(text)


def found(root: Path, name: str = "one") -> int | None:
    return qemu_of_domain(name, UUID, (FOLDER,), root)


def test_the_process_that_libvirt_wrote_down(root: Path) -> None:
    process(root, 41, "-uuid", UUID)
    process(root, 42, "-uuid", UUID)
    written(root, "42\n")
    assert found(root) == 42


def test_a_pid_that_has_gone_to_another_is_not_believed(root: Path) -> None:
    process(root, 41, "-uuid", UUID)
    process(root, 42, "-uuid", "another")
    process(root, 43, "-uuid", UUID, exe="/usr/bin/python3")
    for text in ("42\n", "43\n", "44\n", "", "-41", "4" * 5000):
        written(root, text)
        assert found(root) == 41, "the only QEMU of that UUID"


def test_two_of_one_uuid_without_a_pid_file_are_not_told_apart(root: Path) -> None:
    process(root, 41, "-uuid", UUID)
    assert found(root) == 41
    process(root, 42, "-name", "guest=one", "-uuid", UUID)
    assert found(root) is None


def test_a_uuid_elsewhere_in_the_command_line_is_none(root: Path) -> None:
    process(root, 41, "-name", UUID, "-uuid", "another")
    process(root, 42, "-uuid", UUID, "-uuid", "another")
    process(root, 43)
    assert found(root) is None


def test_a_name_never_leads_out_of_the_folder(root: Path) -> None:
    process(root, 41, "-uuid", UUID)
    process(root, 42, "-uuid", UUID)
    (root / "run/one.pid").write_text("42\n")
    assert found(root, "../../one") is None
