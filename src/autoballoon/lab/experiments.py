"""The experiments of `autoballoon lab`: what is varied, what is held, how long it may take."""

from collections.abc import Mapping

import msgspec

from autoballoon.core.errors import BadInput
from autoballoon.core.units import MIB


class Arm(msgspec.Struct, frozen=True):
    """One way to run the same guests; arms of one table differ in nothing but these three."""

    name: str
    says: str
    controller: bool = False
    reporting: bool = False
    """free-page-reporting=on in the balloon's device line."""
    limited: bool = True
    """False: the guests may hold as much as they like."""


YARDSTICK = Arm("yardstick", "no limit that matters", limited=False)
OFF = Arm("off", "no controller")
REPORTING = Arm("reporting", "no controller, free page reporting", reporting=True)
ON = Arm("on", "autoballoon", controller=True)
ON_REPORTING = Arm("on+reporting", "autoballoon and free page reporting", controller=True, reporting=True)


class HostLoad(msgspec.Struct, frozen=True):
    """A process of the host that takes memory beside the guests, and keeps it until the run ends."""

    mib: int
    over_s: float
    after_go_s: float


class Experiment(msgspec.Struct, frozen=True):
    """What `lab run NAME` does; the fields are its defaults, and flags replace some of them."""

    name: str
    says: str
    arms: tuple[Arm, ...]
    example: tuple[Arm, ...]
    """The arms of a single round, which is shown rather than measured: few enough to be waited for."""
    limit: int
    """Bytes that all guests together may hold."""
    guests: int = 8
    memory_mib: int = 512
    wave: Mapping[str, int] = {}
    """Parameters of the guests' workload; what is not named stays at its default there."""
    period_ms: int = 20_000
    """One phase begins every so often in each guest; the guests are spread evenly over it."""
    fill_limit_s: float = 180.0
    """After this the go is given, ready or not."""
    work_limit_s: float = 300.0
    """After the go; who is not done then is counted as unfinished."""
    hostload: HostLoad | None = None


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
        limit=3000 * MIB,
        hostload=HostLoad(mib=400, over_s=5.0, after_go_s=8.0),
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

    BadInput names the known arms.
    """
    if names is None:
        return experiment.example if rounds == 1 else experiment.arms
    known = {arm.name: arm for arm in (YARDSTICK, OFF, REPORTING, ON, ON_REPORTING)}
    asked = [name.strip() for name in names.split(",") if name.strip()]
    if asked == ["all"]:
        return experiment.arms
    for name in asked:
        if name not in known:
            raise BadInput(f"there is no arm {name[:40]!r}; the arms are all, or some of {', '.join(known)}")
    if not asked:
        raise BadInput(f"--arms names no arm; the arms are all, or some of {', '.join(known)}")
    return tuple(arm for name, arm in known.items() if name in asked)
