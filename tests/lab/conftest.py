"""Real guests for the tests: the image and the accelerator once, a host of the lab's own for each test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
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
from tests.lab.driven import Driven, Kind, driven_image

collect_ignore = ["inside"]
"""Its tests run in a guest (test_cgroup_v2.py): they would take this machine's control groups and its swap."""

StartGuest = Callable[..., Awaitable[Vm]]
"""await start_guest("name", workload="eat", ...): keywords are VmSpec's."""
StartGuests = Callable[..., Awaitable[list[Vm]]]
"""one, other = await start_guests("one", "other", workload="eat", ...)"""
LONGEST = ("test_overload_real", "test_cgroup_v2", "test_libvirt_daemon")
"""Files whose one test takes a minute or more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: begun last, one would go on for a minute while nothing else is left to run."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="session")
def image() -> GuestImage:
    """What guests boot. Skips, with the sentence, where the lab cannot run; fails where no image can be made."""
    try:
        preflight(guests=3, guest_size=GIB, swap=GIB, beside=True)
    except CouldNot as trouble:
        pytest.skip(str(trouble))
    return build_image(print)


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


async def all_of(starting: Iterable[Awaitable[Vm]]) -> list[Vm]:
    """Guests that boot at once. Whatever becomes of one, none is still being started when the host ends."""
    started = await asyncio.gather(*starting, return_exceptions=True)
    for one in started:
        if isinstance(one, BaseException):
            raise one
    return [one for one in started if isinstance(one, Vm)]


@pytest.fixture
def start_guests(start_guest: StartGuest) -> StartGuests:
    """Boot guests of one kind on `lab_host`, all at once."""

    async def start(*names: str, **spec: Any) -> list[Vm]:
        return await all_of(start_guest(name, **spec) for name in names)

    return start


@pytest.fixture(scope="session")
def driven(image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> GuestImage:
    """An image with a shell on the console, our balloon driver and Linux's."""
    return driven_image(image, tmp_path_factory.mktemp("driven"))


@pytest.fixture
async def guest(
    request: pytest.FixtureRequest,
    lab_host: LabHost,
    driven: GuestImage,
    accel: Accel,
    soak_minutes: float,
) -> AsyncIterator[Driven]:
    """A guest of that image, of 512 MiB; no balloon driver is loaded yet. An indirect parameter says its Kind."""
    kind: Kind = getattr(request, "param", Kind())
    if kind.soak and not soak_minutes:
        pytest.skip("part of `make soak`")
    if kind.newer and driven.kernel_version.startswith("6.1."):
        pytest.skip("needs a kernel newer than 6.1, see guest/driver/README.md")
    vm = await lab_host.start_vm(
        VmSpec(
            name="driven",
            image=driven,
            accel=accel,
            balloon=kind.balloon,
            objects=kind.objects,
            boot=kind.boot,
            cpus=kind.cpus,
        )
    )
    async with qmp(vm) as session:
        yield Driven(vm, session)


@contextlib.asynccontextmanager
async def qmp(vm: Vm, socket: str | None = None) -> AsyncIterator[QMPClient]:
    """A QMP session on the guest's second socket, or on that one."""
    client = QMPClient(vm.name)
    await client.connect(socket or str(vm.eye))
    try:
        yield client
    finally:
        with contextlib.suppress(EOFError):
            await client.disconnect()
