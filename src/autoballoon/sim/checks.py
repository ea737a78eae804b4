"""The closed set of checks that a scenario may name under `must`."""

from autoballoon.sim.checks_guest import (
    AllRunAtEnd,
    LosesAtMost,
    NoGuestBelowFairShare,
    NoGuestOom,
    SatisfiedWithin,
)
from autoballoon.sim.checks_host import (
    GuaranteeHolds,
    HostSwapAtMost,
    NoHostOom,
    ReserveBackWithin,
    RoomThereWithin,
)
from autoballoon.sim.checks_size import KeepsFloor, MovesAtMost, ReachesSizeBy, ShrinksAtMost, StaysWithin

Must = (
    SatisfiedWithin | ReachesSizeBy | ReserveBackWithin | NoGuestOom | NoHostOom | HostSwapAtMost
    | NoGuestBelowFairShare | KeepsFloor | MovesAtMost | StaysWithin | ShrinksAtMost
    | LosesAtMost | GuaranteeHolds | AllRunAtEnd | RoomThereWithin
)  # fmt: skip
"""The closed set of checks."""
