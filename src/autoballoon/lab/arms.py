"""Arms: the ways to run guests that an experiment compares, and the hosts and guests it runs them on."""

from collections.abc import Mapping

import msgspec

from autoballoon.core.units import MIB
from autoballoon.policies import BASELINES, POLICIES


class Variant(msgspec.Struct, frozen=True):
    """A host and guests; only arms within one variant can be compared with each other."""

    name: str = ""
    """It stands behind the arm's name: ladder@fast."""
    says: str = ""
    limit: int | None = None
    """Bytes that all guests together may hold; None: as the experiment says."""
    sizes_mib: tuple[int, ...] = (512,)
    """Guests have these sizes in turn."""
    wave: Mapping[str, int] = {}
    """Parameters of the guests' workload; what the experiment or the call says of one goes before."""
    guest_swap_mib: int | None = None
    """Swap that each guest has of its own; None: as the experiment says."""
    workload: str | None = None
    """What guests do; None: as the experiment says."""
    squeeze_mib: int | None = None
    """Where neither a controller runs nor memory is endless, the lab asks each guest to become so small at the go."""

    def size_mib(self, number: int) -> int:
        """The size of the guest of that number."""
        return self.sizes_mib[number % len(self.sizes_mib)]


class Arm(msgspec.Struct, frozen=True):
    """One way to run guests; arms of one variant differ in nothing but what is said here."""

    name: str
    says: str
    controller: bool = False
    policy: str | None = None
    """The controller's policy; None: that of the call."""
    overload: str = "host-swap"
    """The controller's choice for needs that exceed the host; with "suspend" every guest opts in."""
    reporting: bool = False
    """free-page-reporting=on in the balloon's device line."""
    may_deflate: bool = True
    """deflate-on-oom=on in the balloon's device line."""
    asks: bool = True
    """The controller asks guests near their edge for statistics; else they come once a second."""
    side: str | None = None
    """What runs in the guests and tells the controller of them: agent, qga; None: nothing."""
    headroom: str | None = None
    """The most that the controller gives a guest beyond its need; None: the product's default, 25 % of its RAM."""
    driver: str | None = None
    """The guests' balloon driver is ours, with deflate= so; None: Linux's."""
    limited: bool = True
    """False: the guests may hold as much as they like."""
    variant: Variant = Variant()

    @property
    def short(self) -> str:
        """Its name without the variant's."""
        return self.name.partition("@")[0]

    @property
    def squeeze_mib(self) -> int | None:
        """To what size the lab itself asks each guest to go, MiB; None: it asks none."""
        return self.variant.squeeze_mib if self.limited and not self.controller else None


def within(variant: Variant, *arms: Arm) -> tuple[Arm, ...]:
    """These arms in that variant."""
    return tuple(
        msgspec.structs.replace(arm, name=f"{arm.name}@{variant.name}", variant=variant) for arm in arms
    )


YARDSTICK = Arm("yardstick", "no limit that matters", limited=False)
OFF = Arm("off", "no controller")
REPORTING = Arm("reporting", "no controller, free page reporting", reporting=True)
ON = Arm("on", "autoballoon", controller=True)
ON_REPORTING = Arm("on+reporting", "autoballoon and free page reporting", controller=True, reporting=True)
RULES = tuple(
    Arm(name, "our policy" if name not in BASELINES else "a published rule", controller=True, policy=name)
    for name in POLICIES
)
"""The ladder, and the published rules of others carried out by the same daemon."""
OVERLOADS = tuple(
    Arm(choice, f'overload = "{choice}"', controller=True, policy="ladder", overload=choice, side=side)
    for choice, side in (("host-swap", None), ("guest-swap", "agent"), ("suspend", None))
)
"""Only an agent tells how much swap a guest has of its own; need is taken from those that are known to have some."""
FAST = Variant("fast", "guests take memory at 500 MiB/s", wave={"rate_mib": 500})
SLOW = Variant("slow", "guests take memory at 25 MiB/s", wave={"rate_mib": 25})
SIZES = Variant("sizes", "guests of 384, 512 and 768 MiB that take in proportion", sizes_mib=(384, 512, 768))
TIGHT = Variant("2000", "a host of 2000 MiB", limit=2000 * MIB)
PLAIN = Variant("plain", "guests without swap of their own")
SWAPS = Variant("swap", "guests with 512 MiB of swap of their own, on a disk", guest_swap_mib=512)
TIGHTER = Variant("1600", "a host of 1600 MiB, where needs no longer fit", limit=1600 * MIB)
DRIVERS = (
    Arm("fixed", "Linux's driver, which may not deflate by itself", may_deflate=False),
    Arm("stock", "Linux's driver, which deflates before a process is killed"),
    Arm("shrinker", "our driver, which deflates when reclaim asks", driver="shrinker"),
    Arm("pressure", "our driver, which deflates when reclaim is in trouble", driver="pressure"),
    Arm("never", "our driver, which does not deflate by itself", driver="off"),
)
DRIVEN = (
    *DRIVERS,
    *(
        msgspec.structs.replace(
            arm, name=f"{arm.name}+on", says=f"{arm.says}; and autoballoon", controller=True
        )
        for arm in DRIVERS
    ),
)
"""Each driver of a guest, without and with the daemon."""
VOICES = (
    Arm("once", "autoballoon, which hears of guests once a second", controller=True, asks=False),
    Arm("asked", "autoballoon, which asks guests near their edge", controller=True),
    Arm("asked+reporting", "the same, and free page reporting", controller=True, reporting=True),
    REPORTING,
    Arm("fixed", "autoballoon; guests may not deflate by themselves", controller=True, may_deflate=False),
    Arm("qga", "autoballoon, with qemu-guest-agent in each guest", controller=True, side="qga"),
    Arm("agent", "autoballoon, with our agent in each guest", controller=True, side="agent"),
)
"""How a guest that runs short can be heard."""
HEADROOMS = (
    Arm("asked", "autoballoon, without an agent", controller=True),
    Arm("agent", "autoballoon, with our agent in each guest", controller=True, side="agent"),
    Arm("half", "the same, with headrooms half as large", controller=True, side="agent", headroom="12.5%"),
)
WAVE = Variant("wave", "guests take and free 250 MiB in turn")
BUILD = Variant("build", "guests compile and link Lua in turn", workload="build")
CACHE = Variant(
    "cache",
    "guests full of page cache read a file over and over while much is taken from them",
    workload="cache",
    squeeze_mib=200,
)
