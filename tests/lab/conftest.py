"""Real guests for the tests: the image and the accelerator once, a host of the lab's own for each test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from qemu.qmp import QMPClient

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import GIB
from autoballoon.lab.accel import Accel, choose_accel
from autoballoon.lab.host import LabHost
from autoballoon.lab.image import GuestImage, build_image
from autoballoon.lab.preflight import preflight
from autoballoon.lab.vm import Vm, VmSpec

collect_ignore = ["inside"]
"""Its tests run in a guest (test_cgroup_v2.py): they would take this machine's control groups and its swap."""

StartGuest = Callable[..., Awaitable[Vm]]
"""await start_guest("name", workload="eat", ...): keywords are VmSpec's."""


@pytest.fixture(scope="session")
def image() -> GuestImage:
    """What guests boot. Skips, with the sentence, where the lab cannot run."""
    try:
        preflight(guests=3, guest_size=GIB, swap=GIB, beside=True)
        return build_image(print)
    except CouldNot as trouble:
        pytest.skip(str(trouble))


@pytest.fixture(scope="session")
def accel(image: GuestImage) -> Accel:
    """KVM or emulation, as `--accel auto` would choose."""
    return asyncio.run(choose_accel("auto", image, print))


@pytest.fixture
async def lab_host(image: GuestImage) -> AsyncIterator[LabHost]:
    """A host without limit and swap; `lab_host.group.limit(...)` narrows it."""
    async with LabHost(limit=None, swap=0, say=print) as host:
        yield host


@pytest.fixture
def start_guest(lab_host: LabHost, image: GuestImage, accel: Accel) -> StartGuest:
    """Boot a guest on `lab_host`; it ends with the test."""

    async def start(name: str = "guest", **spec: Any) -> Vm:
        return await lab_host.start_vm(VmSpec(name=name, image=image, accel=accel, **spec))

    return start


@contextlib.asynccontextmanager
async def qmp(vm: Vm) -> AsyncIterator[QMPClient]:
    """A QMP session on the guest's second socket."""
    client = QMPClient(vm.name)
    await client.connect(str(vm.eye))
    try:
        yield client
    finally:
        with contextlib.suppress(EOFError):
            await client.disconnect()
