"""Guest RAM is told from QEMU's own memory, however it is backed."""

from pathlib import Path

from autoballoon.core.units import KIB, MIB
from autoballoon.host.smaps import split

PROC = Path(__file__).parent.parent / "fixtures" / "host" / "qemu" / "proc"
RAM = 128 * MIB


def mapping(start: int, size: int, flags: str, perms: str = "rw-p", **sizes: int) -> str:
    """One entry of smaps; sizes in bytes, Rss and Pss taken as the anonymous memory unless given."""
    anonymous = sizes.setdefault("Anonymous", 0)
    sizes = {"Size": size, "Rss": anonymous, "Pss": sizes.get("Rss", anonymous), "Swap": 0, **sizes}
    lines = "".join(f"{name}: {number // KIB:>12} kB\n" for name, number in sizes.items())
    return f"{start:x}-{start + size:x} {perms} 00000000 00:00 0 \n{lines}VmFlags: {flags} \n"


HEAP = mapping(0x1000, 16 * MIB, "rd wr mr mw me ac", Anonymous=8 * MIB)
BUFFER = mapping(0x2000, RAM, "rd wr ex mr mw me dc ac hg", "rwxp", Anonymous=40 * MIB)
VIDEO = mapping(0x3000, 16 * MIB, "rd wr mr mw me dc ac hg mg", Anonymous=1 * MIB)


def test_anonymous_ram_as_captured() -> None:
    parts = split((PROC / "101/smaps").read_bytes(), RAM)
    assert parts is not None
    assert (parts.anonymous, parts.shared, parts.private_size) == (48 * MIB, 0, RAM)
    assert 60 * MIB < parts.own < 64 * MIB  # the loader's own copy of the 48 MiB among it


def test_memfd_ram_as_captured() -> None:
    parts = split((PROC / "102/smaps").read_bytes(), RAM)
    assert parts is not None
    assert (parts.anonymous, parts.shared, parts.private_size) == (0, 48 * MIB, 0)
    assert 60 * MIB < parts.own < 64 * MIB


def test_hugetlbfs_ram_as_captured() -> None:
    parts = split((PROC / "103/smaps").read_bytes(), RAM)
    assert parts is not None
    assert (parts.anonymous, parts.shared, parts.private_size) == (0, 48 * MIB, 0)


def test_private_hugetlbfs_ram_never_becomes_anonymous() -> None:
    ram = mapping(0x9000, RAM, "rd wr mr mw me dc de ht hg", Private_Hugetlb=6 * MIB)
    parts = split((HEAP + ram).encode(), RAM)
    assert parts is not None
    assert (parts.shared, parts.private_size, parts.own) == (6 * MIB, 0, 8 * MIB)


def test_a_translation_buffer_of_the_guests_size_is_qemus_own() -> None:
    ram = mapping(0x9000, RAM, "rd wr mr mw me dc ac hg mg", Anonymous=10 * MIB)
    parts = split((HEAP + BUFFER + VIDEO + ram).encode(), RAM)
    assert parts is not None
    assert (parts.anonymous, parts.own) == (10 * MIB, (8 + 40 + 1) * MIB)


def test_several_backends_or_a_split_mapping_make_up_the_ram() -> None:
    pieces = [
        mapping(0x9000 + i, size * MIB, "rd wr mr mw me dc ac hg", Anonymous=4 * MIB)
        for i, size in enumerate((64, 60, 4))
    ]
    parts = split((HEAP + VIDEO + "".join(pieces)).encode(), RAM)
    assert parts is not None
    assert (parts.anonymous, parts.private_size, parts.own) == (12 * MIB, RAM, 9 * MIB)


def test_of_two_backends_of_one_size_that_which_holds_something_is_the_ram() -> None:
    """The other was plugged a moment ago, or is a backend that no guest sees yet."""
    ram = mapping(0x9000, RAM, "rd wr mr mw me dc ac hg", Anonymous=30 * MIB)
    empty = mapping(0x4000, RAM, "rd wr mr mw me dc ac hg")
    parts = split((HEAP + VIDEO + empty + ram).encode(), RAM)
    assert parts is not None
    assert (parts.anonymous, parts.own) == (30 * MIB, 9 * MIB)


def test_ram_mapped_larger_than_it_is_counts_with_every_ram_block() -> None:
    ram = mapping(0x9000, 4 * RAM, "rd wr mr mw me dc ac hg", Anonymous=30 * MIB)
    parts = split((HEAP + VIDEO + ram).encode(), RAM)
    assert parts is not None
    assert (parts.anonymous, parts.own) == (31 * MIB, 8 * MIB)


def test_merged_pages_are_told() -> None:
    ram = mapping(0x9000, RAM, "rd wr mr mw me dc ac mg", Anonymous=60 * MIB, Rss=60 * MIB, Pss=20 * MIB)
    parts = split((HEAP + ram).encode(), RAM)
    assert parts is not None
    assert (parts.anonymous, parts.merged) == (60 * MIB, 40 * MIB)


def test_a_shared_mapping_counts_whole_though_another_process_maps_it_too() -> None:
    ram = mapping(0x9000, RAM, "rd wr sh mr mw me ms dc", "rw-s", Rss=60 * MIB, Pss=30 * MIB, Swap=5 * MIB)
    parts = split((HEAP + ram).encode(), RAM)
    assert parts is not None
    assert (parts.shared, parts.merged, parts.shared_swap, parts.anonymous_swap) == (60 * MIB, 0, 5 * MIB, 0)


def test_a_process_without_ram_blocks_is_not_split() -> None:
    assert split(HEAP.encode(), RAM) is None
    assert split(b"", RAM) is None
