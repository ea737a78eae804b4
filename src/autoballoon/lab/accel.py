"""KVM where a short boot proves that it works, else emulation, with the reason."""

from typing import Literal

import msgspec

from autoballoon.lab.image import GuestImage, Say

Wanted = Literal["auto", "kvm", "tcg"]


class Accel(msgspec.Struct, frozen=True):
    """What runs the guests' code."""

    name: Literal["kvm", "tcg"]
    why: str
    """One sentence."""


async def choose_accel(wanted: Wanted, image: GuestImage, say: Say) -> Accel:
    """The accelerator to use; CouldNot when "kvm" was asked for outright and does not work."""
    raise NotImplementedError
