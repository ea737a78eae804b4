"""What a configuration is made into: the senses, the engine, the alarms."""

import glob
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from autoballoon.core.engine import Engine, Rules
from autoballoon.core.errors import BadInput
from autoballoon.daemon.alarms import Alarms, alarms_of
from autoballoon.daemon.config import Config
from autoballoon.daemon.sense import HostSense, ProcessSense, Senses
from autoballoon.guests.agent import Agents, Pressed
from autoballoon.guests.hypervisor import Hypervisor, Problem, Wake
from autoballoon.guests.libvirt import LibvirtHypervisor
from autoballoon.guests.qmp import QmpHypervisor
from autoballoon.host.apart import apart
from autoballoon.host.find import other_managers_socket, qemu_behind
from autoballoon.host.find_domain import qemu_of_domain
from autoballoon.host.guest_group import GuestGroups
from autoballoon.host.memory import HostReader
from autoballoon.host.process import ProcessReader
from autoballoon.policies import policy_named

Look = Callable[[], Awaitable[None]]
"""Has somebody look at other places than before."""


class Parts:
    """A configuration at work. `start` opens what looks outside, `close` lets it go."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        host: HostSense,
        processes: ProcessSense,
        hypervisors: Sequence[Hypervisor],
        alarms: Alarms | None = None,
        agents: Agents | None = None,
        elsewhere: Sequence[Look] = (),
    ) -> None:
        """`elsewhere`: of the hypervisors and agents that ran before, where they are to look from now on."""
        self.config = config
        self.engine = engine
        self.host = host
        self.processes = processes
        self.hypervisors = tuple(hypervisors)
        self.agents = agents or Agents()
        self.senses = Senses(host, processes, hypervisors, config.bounds, self.agents)
        self._refused: list[Problem] = []
        self._alarms = alarms or Alarms()
        self._elsewhere = elsewhere

    @property
    def problems(self) -> list[Problem]:
        """What keeps the host's own alarms from being heard."""
        return [*self._refused, *self._alarms.problems()]

    async def start(
        self, wake: Wake, running: Sequence[Hypervisor] = (), pressed: Pressed | None = None
    ) -> None:
        """Begin to look; `pressed` hears of guests whose agent says that they run short.

        Hypervisors that are `running` already go on, and nobody is waited for beside them: ticks go on too. What can
        fail (BadInput, CouldNot) comes before anything changes for those.
        """
        for hypervisor in self.hypervisors:
            if hypervisor not in running:
                await hypervisor.start(wake, wait=not running)
        self._refused += self._alarms.start()
        if pressed is not None:
            self.agents.listen(pressed)
        self.agents.start()
        for look in self._elsewhere:
            await look()

    async def close(self, keep: "Parts | None" = None) -> None:
        """Let everything go, except hypervisors and agents that go on in the parts `keep`."""
        self._alarms.close()
        self.host.close()
        if keep is None or keep.agents is not self.agents:
            await self.agents.close()
        for hypervisor in self.hypervisors:
            if keep is None or hypervisor not in keep.hypervisors:
                await hypervisor.close()


def assemble(config: Config, wake: Wake, old: Parts | None = None) -> Parts:
    """The real parts of this machine; what looks at guests in the `old` ones is kept, and told where to look.

    BadInput or CouldNot when the configuration does not suit this machine; nothing has been opened to guests yet.
    """
    engine = Engine(
        Rules(
            reserve=config.reserve,
            overload=config.overload,
            interval_s=config.interval_s,
            dry_run=config.dry_run,
        ),
        policy_named(config.policy),
    )
    refuse_others_sockets(config.qmp)
    refuse_others_sockets(config.agent, "agent")
    refuse_others_sockets(config.qga, "qga")
    if config.contain:
        GuestGroups().require()
    processes = ProcessReader(apart=apart) if old is None else old.processes
    libvirt, qmp = _kept(old)
    # libvirt first: what a guest of it says on a socket of its own is not looked at.
    hypervisors: list[Hypervisor] = []
    if config.libvirt:
        hypervisors.append(
            libvirt or LibvirtHypervisor(config.libvirt, verify=qemu_of_domain, age_s=processes.age_s)
        )
    hypervisors.append(
        qmp
        or QmpHypervisor(config.qmp, verify=qemu_behind, age_s=processes.age_s, refuse=other_managers_socket)
    )
    host = HostReader(config.capacity)
    alarms = alarms_of(host, wake)
    elsewhere: Sequence[Look] = ()
    if old is None:
        agents = Agents(config.agent, qga=config.qga, refuse=other_managers_socket)
    else:
        agents, elsewhere = old.agents, _elsewhere(config, old.config, old.agents, libvirt, qmp)
    return Parts(config, engine, host, processes, hypervisors, alarms, agents, elsewhere)


def _kept(old: Parts | None) -> tuple[LibvirtHypervisor | None, QmpHypervisor | None]:
    """What there is already."""
    libvirt = qmp = None
    for one in () if old is None else old.hypervisors:
        if isinstance(one, LibvirtHypervisor):
            libvirt = one
        elif isinstance(one, QmpHypervisor):
            qmp = one
    return libvirt, qmp


def _elsewhere(
    new: Config, old: Config, agents: Agents, libvirt: LibvirtHypervisor | None, qmp: QmpHypervisor | None
) -> Sequence[Look]:
    """What is told where to look, because that has changed."""
    found: list[Look] = []
    if libvirt is not None and new.libvirt and new.libvirt != old.libvirt:
        found.append(partial(libvirt.look_at, new.libvirt))
    if qmp is not None and new.qmp != old.qmp:
        found.append(partial(qmp.look_at, new.qmp))
    if (new.agent, new.qga) != (old.agent, old.qga):
        found.append(partial(agents.look_at, new.agent, new.qga))
    return found


def refuse_others_sockets(globs: Sequence[str], key: str = "qmp") -> None:
    """BadInput when a glob, or a socket that it matches now, belongs to Proxmox or libvirt."""
    for pattern in globs:
        for path in (pattern, *glob.glob(pattern)):  # noqa: PTH207 - an absolute pattern, which Path.glob refuses
            owned = other_managers_socket(path)
            if owned is not None:
                raise BadInput(f"[connect] {key}: {owned}")
