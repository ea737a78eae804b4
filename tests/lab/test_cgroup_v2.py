"""cgroup v2, the first case in the world: this project's own code in a guest that has nothing else.

The guest boots Debian's kernel with cgroup_no_v1=all and a small Debian userland; the tests in `inside/` run there.
"""

from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.lab.accel import Accel, translating
from autoballoon.lab.host import LabHost
from autoballoon.lab.image import GuestImage
from autoballoon.lab.userland import PYTHON, build_userland
from autoballoon.lab.vm import VmSpec

from . import carried

pytestmark = pytest.mark.lab


async def test_host_readers_triggers_groups_swap_and_daemon_on_cgroup_v2(
    lab_host: LabHost, image: GuestImage, accel: Accel, tmp_path: Path
) -> None:
    if not carried.fits():
        pytest.skip(
            "compiled packages of this Python do not load in Debian 12's 3.11; use a .venv made with 3.11"
        )
    spec = VmSpec(
        name="v2", image=image, accel=translating(accel, 256), memory_mib=1024, workload="inside", swap_mib=512,
        balloon=None, boot=("cgroup_no_v1=all", "psi=1"),
        disks={"/userland": build_userland(PYTHON, print), "/userland/project": carried.project_image(tmp_path)},
    )  # fmt: skip
    guest = await lab_host.start_vm(spec)
    try:
        done = await guest.expect("done", "failed", "oom", timeout=240)
    except CouldNot as trouble:
        pytest.fail(f"{trouble}\n{guest.transcript}")
    assert done.data.get("code") == 0, guest.transcript
    print(guest.transcript)
