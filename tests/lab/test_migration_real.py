"""A guest that moves from one QEMU to another on this machine, under the daemon of both."""

import asyncio
from pathlib import Path

import pytest

from autoballoon.core.units import GIB, MIB
from autoballoon.lab.accel import Accel
from autoballoon.lab.host import LabHost
from autoballoon.lab.image import GuestImage
from autoballoon.lab.vm import Vm, VmSpec
from autoballoon.views.status import Status, Told

from .conftest import StartGuest, qmp
from .test_daemon_real import daemon_on, is_below, is_seen, named

pytestmark = pytest.mark.lab


def told(status: Status, name: str) -> Told | None:
    return next((one for one in status.decisions if one.guest == name), None)


async def order(vm: Vm, command: str, **arguments: object) -> dict[str, object]:
    async with qmp(vm) as client:
        reply = await client.execute(command, arguments)
    assert isinstance(reply, dict)
    return reply


async def test_the_source_is_not_moved_and_the_destination_is_taken_over(
    start_guest: StartGuest,
    lab_host: LabHost,
    image: GuestImage,
    accel: Accel,
    tmp_path: Path,
    soak_minutes: float,
) -> None:
    if not soak_minutes:
        pytest.skip("half a minute under emulation; part of `make soak`")
    lab_host.group.limit(2 * GIB)
    here = await start_guest("here", workload="eat")
    way = f"unix:{tmp_path}/way"
    spec = VmSpec(name="there", image=image, accel=accel, workload="eat", incoming=True)
    async with (
        await Vm.start(spec, lab_host.run, lab_host.group.procs) as there,
        daemon_on(lab_host, tmp_path) as daemon,
    ):
        await daemon.until("both", lambda s: is_seen("here")(s) and named(s, "there") is not None)
        status = await daemon.until(
            "incoming", lambda s: (one := told(s, "there")) is not None and one.health == "incoming"
        )
        assert status.daemon.account.charges > 2 * 512 * MIB, "what comes in is charged all it may become"
        await order(there, "migrate-incoming", uri=way)
        await order(here, "migrate-set-parameters", **{"max-bandwidth": 4 * MIB})
        await order(here, "migrate", uri=way)
        await daemon.until("migrating", lambda s: (guest := named(s, "here")) is not None and guest.migrating)
        since = len(daemon.seen)
        lab_host.group.limit(900 * MIB)  # the host is short now: both can be 512 MiB large
        await daemon.until(
            "left alone", lambda s: (one := told(s, "here")) is not None and one.reason == "migrating"
        )
        await asyncio.sleep(2)
        assert not daemon.shrinks("here", since)
        assert not daemon.shrinks("there")
        await order(here, "migrate-set-parameters", **{"max-bandwidth": GIB})
        status = await daemon.until(
            "it runs there", lambda s: (guest := named(s, "there")) is not None and not guest.incoming
        )
        stopped = await daemon.until(
            "stopped here", lambda s: (one := told(s, "here")) is not None and one.health == "stopped"
        )
        assert named(stopped, "here") is not None
        assert (await order(here, "query-status"))["status"] == "postmigrate", "nobody has resumed it"
        assert not daemon.shrinks("here", since)
        await daemon.until("statistics there", is_seen("there"))
        lab_host.group.limit(480 * MIB)
        await here.kill()
        await daemon.until("it is balanced there", is_below("there", 480 * MIB))
        there.send("take 100")
        assert (await there.expect("answer", timeout=30)).data["trouble"] == ""
