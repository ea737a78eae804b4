"""Which part of a QEMU process is guest RAM: the text of /proc/PID/smaps taken apart."""

import re

import msgspec

from autoballoon.core.units import KIB
from autoballoon.host.files import kib_fields


class Split(msgspec.Struct, frozen=True):
    """A QEMU process at one moment, guest RAM apart from QEMU's own memory; bytes."""

    own: int = 0
    """QEMU's own resident anonymous memory: heap, stacks, translation buffer, video RAM, ROMs."""
    private_size: int = 0
    """The size of guest RAM in private mappings: as large as its anonymous part can be."""
    anonymous: int = 0
    """Guest RAM that is resident anonymous memory; a page that KSM has merged counts whole."""
    shared: int = 0
    """Guest RAM that is resident and not anonymous: memfd, /dev/shm, hugetlbfs."""
    merged: int = 0
    """What merging saves of a private mapping (Rss less Pss): its pages are another process's too."""
    anonymous_swap: int = 0
    shared_swap: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    """Where private guest RAM lies in the process: addresses and sizes."""


class _Block(msgspec.Struct, frozen=True):
    """One mapping that holds (a part of) a RAM block of QEMU."""

    start: int
    private: bool
    """What the guest writes becomes anonymous memory; never so in hugetlbfs, which has its own counters."""
    sizes: dict[bytes, int]

    def __getitem__(self, name: bytes) -> int:
        return self.sizes.get(name, 0)

    @property
    def held(self) -> int:
        """Bytes of it that are there, in memory or in swap."""
        return self[b"Rss"] + self[b"Swap"] + self[b"Shared_Hugetlb"] + self[b"Private_Hugetlb"]


_HEADER = re.compile(rb"^([0-9a-f]+)-[0-9a-f]+ ..(.)([ps]) ", re.MULTILINE)
# Beginning with plain text instead of ^ makes these ten times faster in a quarter of a megabyte.
_KEPT_FROM_FORK = re.compile(rb"\nVmFlags:[a-z0-9 ]* dc\b.*")
_ANONYMOUS = re.compile(rb"\nAnonymous: +([1-9]\d*) kB")


def split(smaps: bytes, ram: int) -> Split | None:
    """Guest RAM and the rest, for a guest of `ram` bytes; None when no mapping can be guest RAM.

    QEMU keeps every RAM block from being inherited by a fork (`dc` among the VmFlags; ram_block_add in
    softmmu/physmem.c) and makes none of them executable, unlike TCG's translation buffer. Of these, guest RAM
    is the largest ones that together make exactly `ram` bytes: one, or several with several memory backends,
    plugged memory, or a mapping that the kernel has split. Where there is no such sum (memory that may still
    grow is mapped at its largest size) every RAM block counts as guest RAM: the others are small.
    """
    blocks = _ram_blocks(smaps)
    if not blocks:
        return None
    guest = _that_make(ram, blocks) or blocks
    private = [block for block in guest if block.private]
    anonymous = sum(block[b"Anonymous"] for block in guest)
    everywhere = sum(map(int, _ANONYMOUS.findall(smaps))) * KIB
    return Split(
        own=max(everywhere - anonymous, 0),
        private_size=sum(block[b"Size"] for block in private),
        anonymous=anonymous,
        shared=sum(
            block[b"Rss"] + block[b"Shared_Hugetlb"] + block[b"Private_Hugetlb"] - block[b"Anonymous"]
            for block in guest
        ),
        merged=max(sum(block[b"Rss"] - block[b"Pss"] for block in private), 0),
        anonymous_swap=sum(block[b"Swap"] for block in private),
        shared_swap=sum(block[b"Swap"] for block in guest if not block.private),
        ranges=tuple((block.start, block[b"Size"]) for block in private),
    )


def _ram_blocks(smaps: bytes) -> list[_Block]:
    """Every mapping that can be a RAM block of QEMU."""
    found = []
    for flags in _KEPT_FROM_FORK.finditer(smaps):
        begin = max(smaps.rfind(b"VmFlags:", 0, flags.start()), 0)
        header = _HEADER.search(smaps, begin)
        if header is not None and header[2] != b"x":
            private = header[3] == b"p" and b" ht" not in flags[0]
            found.append(_Block(int(header[1], 16), private, kib_fields(smaps[begin : flags.start()])))
    return found


def _that_make(ram: int, blocks: list[_Block]) -> list[_Block]:
    """The largest blocks that together are exactly `ram` bytes; none when no such sum is found.

    Of equal ones that which holds most: another backend may be there before the guest is told of it.
    """
    chosen: list[_Block] = []
    missing = ram
    for block in sorted(blocks, key=lambda block: (block[b"Size"], block.held), reverse=True):
        if 0 < block[b"Size"] <= missing:
            chosen.append(block)
            missing -= block[b"Size"]
    return chosen if missing == 0 else []
