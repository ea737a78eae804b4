"""Sizes, shares of a whole, durations and lists of names, as people write them and as the code holds them.

Inside, a size is an int of bytes and a time a float of seconds. Text with a unit is converted here, once.
"""

import re
from collections.abc import Sequence

import msgspec

from autoballoon.core.errors import BadInput

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
PAGE = 4 * KIB
"""The balloon's page: 4 KiB whatever the guest's own page is (virtio 1.2, section 5.5.6)."""

_SIZES = {
    "": 1, "b": 1,
    "k": KIB, "kib": KIB, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB, "t": 1024 * GIB, "tib": 1024 * GIB,
    "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4,
}  # fmt: skip
_TIMES = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z%]*)\s*")


class Portion(msgspec.Struct, frozen=True):
    """A size given outright (`amount`, bytes) or as a share of a whole (`share`, 0 to 1); one of them is set."""

    amount: int | None = None
    share: float | None = None

    def of(self, whole: int) -> int:
        """Bytes, when the whole is `whole` bytes."""
        return self.amount if self.amount is not None else round(whole * (self.share or 0.0))

    def __str__(self) -> str:
        return size_text(self.amount) if self.amount is not None else f"{(self.share or 0.0) * 100:g}%"


def _split(text: str, what: str, examples: str) -> tuple[float, str]:
    matched = _NUMBER.fullmatch(text)
    if matched is None:
        raise BadInput(f"{what} {text[:40]!r} is not a number with a unit; write it like {examples}")
    return float(matched[1]), matched[2]


def parse_size(text: str) -> int:
    """Bytes of a size such as "512MiB", "2G" (binary) or "2GB" (decimal). BadInput when it is none."""
    number, unit = _split(text, "the size", '"512MiB" or "2GiB"')
    if not unit or unit.lower() not in _SIZES:
        raise BadInput(f'the size {text[:40]!r} has no known unit; write it like "512MiB" or "2GiB"')
    return round(number * _SIZES[unit.lower()])


def parse_portion(text: str) -> Portion:
    """A size, or a percentage of a whole: "5%". BadInput when it is neither."""
    number, unit = _split(text, "the size", '"5%" or "512MiB"')
    if unit != "%":
        return Portion(amount=parse_size(text))
    if number > 100:
        raise BadInput(f"{text[:40]!r} is more than the whole; write at most 100%")
    return Portion(share=number / 100)


def parse_duration(text: str) -> float:
    """Seconds of a duration such as "1s", "250ms", "10m". BadInput when it is none."""
    number, unit = _split(text, "the duration", '"1s", "250ms" or "10m"')
    if unit not in _TIMES:
        raise BadInput(f'the duration {text[:40]!r} has no known unit; write it like "1s", "250ms" or "10m"')
    return number * _TIMES[unit]


def size_text(size: int | None) -> str:
    """A size for people: whole MiB up to 10 GiB, then GiB with one decimal; "?" when unknown."""
    if size is None:
        return "?"
    if abs(size) < 10 * GIB:
        return f"{size / MIB:.0f} MiB"
    return f"{size / GIB:.1f} GiB"


def names_text(names: Sequence[str], most: int) -> str:
    """The first `most` names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def page_floor(size: int) -> int:
    """The largest multiple of the balloon's page that is not above `size`."""
    return size // PAGE * PAGE


def page_ceil(size: int) -> int:
    """The smallest multiple of the balloon's page that is not below `size`."""
    return -(-size // PAGE) * PAGE
