"""The daemon on virtual time over real QMP sessions: its guests are fake QEMUs behind sockets."""

import asyncio
from pathlib import Path
from typing import Any

from autoballoon.core.units import MIB
from autoballoon.daemon.config import Config
from autoballoon.daemon.parts import Parts
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.hypervisor import Wake
from autoballoon.guests.qmp import QmpHypervisor
from tests.daemon.test_loop import World
from tests.guests.fake_qmp import FakeQemu


class Qemus(World):
    """A world whose guests are behind QMP sockets in `folder`."""

    def __init__(self, folder: Path, capacity_mib: int = 8000) -> None:
        self.folder = folder
        super().__init__(folder, capacity_mib)
        self.hypervisor.guests = {}

    def assemble(self, config: Config, wake: Wake, old: Parts | None) -> Parts:
        parts = super().assemble(config, wake, old)
        qmp = (
            old.hypervisors[0]
            if old is not None
            else QmpHypervisor(
                [f"{self.folder}/*.qmp"],
                verify=lambda path, pid: self._pid_of(path),
                age_s=self.age_s,
                clock=asyncio.get_running_loop().time,
            )
        )
        self.assembled[-1] = Parts(config, parts.engine, self, self, (qmp,))
        return self.assembled[-1]

    def read(self, pid: int = 0, ram: int = 0) -> Any:
        return None if pid and self.identity(pid) is None else super().read(pid, ram)

    def age_s(self, pid: int) -> float:
        now = asyncio.get_running_loop().time()
        return next((now - one.born_at for one in self.guests.values() if one.pid == pid), 100.0)

    def _pid_of(self, path: str) -> int | None:
        guest = self.hypervisor.guests.get(path)
        return None if guest is None else guest.pid

    def qemu(self, number: int, **about: Any) -> FakeQemu:
        """The fake QEMU of a guest that began long ago; it is there once it has been entered."""
        clock = asyncio.get_running_loop().time
        guest = FakeGuest(f"g{number}", pid=1000 + number, need=80 * MIB, born_at=clock() - 100, **about)
        qemu = FakeQemu(self.folder / f"g{number}.qmp", guest, clock=clock)
        self.hypervisor.guests[str(qemu.path)] = guest
        return qemu
