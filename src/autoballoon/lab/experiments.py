"""The experiments of `autoballoon lab`: what is varied, what is held, how long it may take."""

from collections.abc import Mapping

import msgspec

from autoballoon.core.errors import BadInput
from autoballoon.core.units import MIB
from autoballoon.lab.arms import (
    BUILD,
    CACHE,
    DRIVEN,
    FAST,
    HEADROOMS,
    OFF,
    ON,
    ON_REPORTING,
    OVERLOADS,
    PLAIN,
    REPORTING,
    RULES,
    SIZES,
    SLOW,
    SWAPS,
    TIGHT,
    TIGHTER,
    VOICES,
    WAVE,
    YARDSTICK,
    Arm,
    within,
)


class HostLoad(msgspec.Struct, frozen=True):
    """A process of the host that takes memory beside the guests, and keeps it until the run ends."""

    mib: int
    over_s: float
    after_go_s: float


PHASES = 3
"""Phases of a guest where none are named (guest/workload.c)."""
LEAST_PATIENCE_S = 300.0
"""Guests are waited for so long at least; where they ask for memory for longer, twice as long as that."""


class Experiment(msgspec.Struct, frozen=True):
    """What `lab run NAME` does; the fields are its defaults, and flags replace some of them."""

    name: str
    says: str
    arms: tuple[Arm, ...]
    example: tuple[Arm, ...]
    """The arms of a single round, which is shown rather than measured: few enough to be waited for."""
    limit: int
    """Bytes that all guests together may hold, where the variant does not say."""
    others: tuple[Arm, ...] = ()
    """Arms that are run only when they are named."""
    workload: str = "wave"
    """What guests do: wave, or build, which needs a userland with a compiler."""
    translated_mib: int = 16
    """The buffer of translated code that each QEMU has where guests are emulated; too small it is filled anew all the
    time, and it counts as memory of the host."""
    guests: int = 8
    guest_swap_mib: int = 0
    """Swap that each guest has of its own, on a disk of its own."""
    sides: bool = False
    """Every guest has ports for agents and a userland to run them in, whether or not one runs."""
    spikes: bool = False
    """It is measured how soon guests of `wave` are given what they take."""
    wave: Mapping[str, int] = {}
    """Parameters of the guests' workload; what is not named stays at its default there."""
    period_ms: int = 30_000
    """One phase begins every so often in each guest; the guests are spread evenly over it. Phases of eight guests keep
    two cores busy for half of it: the clock decides how they overlap, and not how slow a machine is."""
    fill_limit_s: float = 180.0
    """After this the go is given, ready or not."""
    hostload: HostLoad | None = None

    @property
    def every_arm(self) -> tuple[Arm, ...]:
        """All that can be named, in the table's order."""
        return (*self.arms, *self.others)

    @property
    def patience_s(self) -> float:
        """Seconds after the go; who is not done then is counted as unfinished."""
        return max(LEAST_PATIENCE_S, 2 * self.wave.get("phases", PHASES) * self.period_ms / 1000)

    def limit_of(self, arm: Arm) -> int | None:
        """Bytes that all guests of this arm together may hold; None where no limit matters."""
        return (arm.variant.limit or self.limit) if arm.limited else None

    def workload_of(self, arm: Arm) -> str:
        """What guests of this arm do."""
        return arm.variant.workload or self.workload

    def guest_swap_of(self, arm: Arm) -> int:
        """MiB of swap that each guest of this arm has of its own."""
        own = arm.variant.guest_swap_mib
        return self.guest_swap_mib if own is None else own


EXPERIMENTS = (
    Experiment(
        name="wave",
        says="guests with full page caches take and free 250 MiB in turn on a host too small for all of them",
        arms=(YARDSTICK, OFF, REPORTING, ON, ON_REPORTING),
        example=(YARDSTICK, OFF, ON),
        limit=2600 * MIB,
    ),
    Experiment(
        name="hostload",
        says="the same guests on a host whose own process takes 400 MiB within 5 s",
        arms=(OFF, ON),
        example=(OFF, ON),
        others=(YARDSTICK, REPORTING, ON_REPORTING),
        limit=3000 * MIB,
        hostload=HostLoad(mib=400, over_s=5.0, after_go_s=8.0),
    ),
    Experiment(
        name="peers",
        says="the wave with the ladder, with the published rules of others, and with none",
        arms=tuple(arm for variant in (FAST, SLOW, SIZES) for arm in within(variant, YARDSTICK, OFF, *RULES)),
        example=within(FAST, YARDSTICK, OFF, *RULES),
        limit=2600 * MIB,
    ),
    Experiment(
        name="over",
        says="the wave on hosts that are far too small, with each choice of what to do in an overload",
        arms=(YARDSTICK, *within(TIGHT, OFF, *OVERLOADS), *within(TIGHTER, OFF, *OVERLOADS)),
        example=(YARDSTICK, *within(TIGHT, OFF, *OVERLOADS)),
        limit=2000 * MIB,
        guest_swap_mib=512,
        sides=True,
    ),
    Experiment(
        name="build",
        says="guests with full page caches compile and link Lua in turn, on 60 % of the memory that they would use",
        arms=tuple(arm for variant in (PLAIN, SWAPS) for arm in within(variant, YARDSTICK, OFF, ON)),
        example=within(PLAIN, YARDSTICK, OFF, ON),
        limit=2090 * MIB,
        workload="build",
        translated_mib=32,
        guests=6,
        wave={"phases": 1},
        period_ms=90_000,
    ),
    Experiment(
        name="driver",
        says="guests with Linux's balloon driver and with ours, without the daemon and with it",
        arms=tuple(arm for variant in (WAVE, BUILD, CACHE) for arm in within(variant, YARDSTICK, *DRIVEN)),
        example=within(CACHE, YARDSTICK, *DRIVEN),
        limit=2090 * MIB,
        translated_mib=32,
        guests=6,
        spikes=True,
        wave={"phases": 1},
        period_ms=60_000,
    ),
    Experiment(
        name="guest-side",
        says="the wave in short phases, by how guests that run short are heard, and how soon they are given memory",
        arms=(YARDSTICK, *VOICES),
        example=(YARDSTICK, *VOICES),
        others=(OFF,),
        limit=2600 * MIB,
        sides=True,
        spikes=True,
        wave={"phases": 2, "passes": 8, "rate_mib": 0},
        period_ms=20_000,
    ),
    Experiment(
        name="headrooms",
        says="the wave with our agent in the guests, headrooms as usual and half as large",
        arms=(YARDSTICK, OFF, *HEADROOMS),
        example=(YARDSTICK, OFF, *HEADROOMS),
        limit=2600 * MIB,
        sides=True,
        spikes=True,
    ),
)


def experiment_named(name: str) -> Experiment:
    """The experiment of that name; BadInput that names the known ones."""
    for experiment in EXPERIMENTS:
        if experiment.name == name:
            return experiment
    known = ", ".join(experiment.name for experiment in EXPERIMENTS)
    raise BadInput(f"there is no experiment {name[:40]!r}; the experiments are {known}")


def arms_named(experiment: Experiment, names: str | None, rounds: int) -> tuple[Arm, ...]:
    """The arms in a list such as "off,on" or "all", in the table's order; without one, those of so many rounds.

    A name without its variant is that arm in every variant, and a variant's name every arm in it. BadInput names the
    known arms.
    """
    if names is None:
        return experiment.example if rounds == 1 else experiment.arms
    known = experiment.every_arm
    asked = [name.strip() for name in names.split(",") if name.strip()]
    if asked == ["all"]:
        return experiment.arms
    variants = [f"@{arm.variant.name}" for arm in known if arm.variant.name]
    words = dict.fromkeys([*(arm.short for arm in known), *variants])
    for name in asked:
        if name not in words and all(name != arm.name for arm in known):
            raise BadInput(f"there is no arm {name[:40]!r}; the arms are all, or some of {', '.join(words)}")
    if not asked:
        raise BadInput(f"--arms names no arm; the arms are all, or some of {', '.join(words)}")
    wanted = set(asked)
    return tuple(arm for arm in known if wanted & {arm.name, arm.short, f"@{arm.variant.name}"})


def with_guests(experiment: Experiment, guests: int) -> Experiment:
    """The experiment with so many guests, limits that leave each the same share, and as much less that the host's own
    process takes."""
    if guests == experiment.guests:
        return experiment

    def less(limit: int) -> int:
        return limit * guests // experiment.guests // MIB * MIB

    def arms(found: tuple[Arm, ...]) -> tuple[Arm, ...]:
        return tuple(
            arm
            if arm.variant.limit is None
            else msgspec.structs.replace(
                arm, variant=msgspec.structs.replace(arm.variant, limit=less(arm.variant.limit))
            )
            for arm in found
        )

    load = experiment.hostload
    if load is not None:
        load = msgspec.structs.replace(load, mib=load.mib * guests // experiment.guests)
    return msgspec.structs.replace(
        experiment,
        guests=guests,
        limit=less(experiment.limit),
        hostload=load,
        arms=arms(experiment.arms),
        example=arms(experiment.example),
        others=arms(experiment.others),
    )
