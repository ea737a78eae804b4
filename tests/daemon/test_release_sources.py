"""Where `run --release` finds the guests that a daemon had stopped."""

import time
from pathlib import Path

import pytest

from autoballoon.daemon.release import _connect
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.hypervisor import sleep_on
from tests.guests.fake_libvirt import FakeLibvirt
from tests.guests.fake_qmp import FakeQemu


async def test_a_guest_is_found_where_its_key_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeLibvirt(time.monotonic)
    monkeypatch.setattr("autoballoon.guests.libvirt.load_libvirt", lambda: api)
    domain = api.add(FakeGuest("domain"))
    domain.state = (3, 1)
    path = tmp_path / "socket.qmp"
    async with FakeQemu(path, FakeGuest("socket")):
        hypervisor = _connect([str(path), f"qemu:///system#{domain.uuid}"])
        await hypervisor.start(sleep_on)
        try:
            assert {guest.name for guest in await hypervisor.read()} == {"domain", "socket"}
            assert await hypervisor.resume(f"qemu:///system#{domain.uuid}") is True
            assert domain.state[0] == 1
        finally:
            await hypervisor.close()
