"""A daemon in a process of its own that a test may kill at any moment, over fake QEMUs that the test plays.

    python -m tests.lab.victim FOLDER

Everything is the real thing, but for the /proc that it reads: FOLDER/root, which the test writes. Sockets are
FOLDER/N.qmp, and the QEMU behind N.qmp is the process N there.
"""

import asyncio
import signal
import sys
from pathlib import Path

from autoballoon.core.engine import Engine, Rules
from autoballoon.daemon.config import Config, load
from autoballoon.daemon.journal import log_to_stderr
from autoballoon.daemon.loop import Daemon
from autoballoon.daemon.parts import Parts
from autoballoon.guests.hypervisor import Wake
from autoballoon.guests.qmp import QmpHypervisor
from autoballoon.host.memory import HostReader
from autoballoon.host.process import ProcessReader
from autoballoon.policies import policy_named


def parts_of(config: Config, wake: Wake, root: Path) -> Parts:
    """As daemon.parts.assemble, under another root, without alarms."""
    processes = ProcessReader(root)
    rules = Rules(reserve=config.reserve, overload=config.overload)
    hypervisor = QmpHypervisor(
        config.qmp, verify=lambda path, pid: int(Path(path).stem), age_s=processes.age_s
    )
    engine = Engine(rules, policy_named(config.policy))
    return Parts(config, engine, HostReader(config.capacity, root), processes, (hypervisor,))


async def live(folder: Path) -> None:
    daemon = Daemon(
        lambda: load(folder / "config.toml"),
        lambda config, wake, old: parts_of(config, wake, folder / "root"),
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, daemon.stop)
    await daemon.run()


if __name__ == "__main__":
    log = log_to_stderr("info", "text")
    try:
        asyncio.run(live(Path(sys.argv[1])))
    finally:
        log.close()
