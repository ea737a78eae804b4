"""doctor on the domains of a libvirtd of its own: what they lack, and the mend in libvirt's words."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from autoballoon.lab.image import GuestImage

from .libvirtd import Libvirtd, apart
from .test_doctor_real import doctor

pytestmark = pytest.mark.lab

FULL = "<memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='1'/></memballoon>"
NAMES = ("whole", "bare", "without")
"""Nobody else's: findings are told by name, and guests of other tests run beside, which doctor sees too."""


@pytest.fixture
async def libvirtd(image: GuestImage) -> AsyncIterator[Libvirtd]:
    pytest.importorskip("libvirt", reason="python3-libvirt is not installed")
    daemon = Libvirtd(image)
    try:
        await apart(daemon.start)
        yield daemon
    finally:
        await apart(daemon.close)


def config_for(libvirtd: Libvirtd, folder: Path) -> Path:
    config = folder / "autoballoon.toml"
    config.write_text(
        f'[connect]\nlibvirt = ["{libvirtd.uri}"]\n[control]\nsocket = "{folder}/control.sock"\n'
    )
    return config


async def test_what_domains_lack_is_mended_by_virsh(libvirtd: Libvirtd, tmp_path: Path) -> None:
    await apart(lambda: libvirtd.create("whole", balloon=FULL))
    await apart(lambda: libvirtd.create("bare", balloon="<memballoon model='virtio'/>"))
    await apart(lambda: libvirtd.create("without", balloon="<memballoon model='none'/>"))
    config = config_for(libvirtd, tmp_path)
    for _ in range(30):
        code, told = await doctor(config)
        guests = {one["name"]: one for one in told["facts"]["guests"] if one["seen"]}
        if guests["whole"]["answered"]:
            break
        await asyncio.sleep(1)
    found = {
        name: {
            one["id"] for one in told["findings"] if one["where"] == name and one["id"] != "kernel-unknown"
        }
        for name in NAMES
    }
    assert found == {
        "whole": set(),
        "bare": {"statistics-off", "autodeflate-off", "reporting-off"},
        "without": {"no-balloon"},
    }
    assert code == 3
    assert {one["name"]: one["pid"] for one in guests.values()} == {
        name: libvirtd.pid(name) for name in found
    }
    mends = {one["id"]: one["mend"] for one in told["findings"] if one["where"] in found}
    assert mends["statistics-off"] == "virsh dommemstat bare --period 1 --live --config"
    assert mends["no-balloon"].startswith("virsh edit without")
    assert await apart(libvirtd.virsh, "dommemstat", "bare")  # it is there, and as it was
    assert "<stats" not in await apart(libvirtd.virsh, "dumpxml", "bare")


async def test_a_domain_or_a_libvirtd_that_was_stopped_is_told_and_not_waited_for(
    libvirtd: Libvirtd, tmp_path: Path
) -> None:
    await apart(lambda: libvirtd.create("stopped", balloon=FULL))
    await apart(lambda: libvirtd.create("well", balloon=FULL))
    config = config_for(libvirtd, tmp_path)
    os.kill(libvirtd.pid("stopped"), signal.SIGSTOP)  # its cleaning up has it go on
    code, told = await doctor(config)
    assert code == 3
    (one,) = [one for one in told["findings"] if one["id"] == "no-answer"]
    assert one["where"] == "stopped"
    assert one["mend"].startswith("virsh domstate stopped --reason")
    sizes = {one["name"]: one["actual"] for one in told["facts"]["guests"] if one["seen"]}
    assert sizes["stopped"] is None and sizes["well"] is not None
    libvirtd.stand_still()
    try:
        _, told = await doctor(config)
    finally:
        libvirtd.stand_still(still=False)
    assert any("does not answer" in one["what"] and one["where"] == libvirtd.uri for one in told["findings"])
