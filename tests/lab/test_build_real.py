"""The workload build, in a real guest with a real compiler."""

import pytest

from autoballoon.lab.accel import Accel, translating
from autoballoon.lab.experiments import experiment_named
from autoballoon.lab.host import LabHost
from autoballoon.lab.image import GuestImage
from autoballoon.lab.userland import COMPILER, build_userland
from autoballoon.lab.vm import Vm, VmSpec

pytestmark = pytest.mark.lab


async def builder(host: LabHost, image: GuestImage, accel: Accel, **params: int) -> Vm:
    """A guest that has been told to go."""
    guest = await host.start_vm(
        VmSpec(
            name="builder", image=image, accel=translating(accel, experiment_named("build").translated_mib),
            workload="build", params={"phases": 1, **params}, disks={"/userland": build_userland(COMPILER, print)},
        )
    )  # fmt: skip
    await guest.expect("filled", timeout=60)
    guest.send("go")
    return guest


async def test_lua_is_built_and_its_seconds_are_told(
    lab_host: LabHost, image: GuestImage, accel: Accel
) -> None:
    guest = await builder(lab_host, image, accel)
    done = await guest.expect("done", "failed", "oom", timeout=120)
    assert done.name == "done", f"{done.data}\n{guest.transcript}"
    (phase,) = [event.data for event in guest.heard if event.name == "phase"]
    assert phase["busy_s"] == phase["wall_s"] == done.data["busy_s"] > 1
    assert done.data["oom_kills"] == 0
    assert done.data["psi_some_s"] >= 0, "the guests' kernel has PSI"


async def test_what_the_compiler_says_when_it_fails_is_told(
    lab_host: LabHost, image: GuestImage, accel: Accel
) -> None:
    guest = await builder(lab_host, image, accel, level=-1)
    failed = await guest.expect("done", "failed", timeout=60)
    assert failed.name == "failed"
    assert "should be a non-negative integer" in failed.data["what"]
    assert failed.data["oom_kills"] == 0
