"""The closed set of checks that a scenario may name under `must`."""

from autoballoon.sim.checks_guest import (
    AllRunAtEnd,
    KeepsFloor,
    LosesAtMost,
    MovesAtMost,
    NoGuestBelowFairShare,
    NoGuestOom,
    ReachesSizeBy,
    SatisfiedWithin,
    ShrinksAtMost,
    StaysWithin,
)  # fmt: skip
from autoballoon.sim.checks_host import GuaranteeHolds, HostSwapAtMost, NoHostOom, ReserveBackWithin

Must = (
    SatisfiedWithin | ReachesSizeBy | ReserveBackWithin | NoGuestOom | NoHostOom | HostSwapAtMost
    | NoGuestBelowFairShare | KeepsFloor | MovesAtMost | StaysWithin | ShrinksAtMost
    | LosesAtMost | GuaranteeHolds | AllRunAtEnd
)  # fmt: skip
"""The closed set of checks."""
