"""The lab's host: one context that makes the group, the swap file and the run folder, and removes them."""

from pathlib import Path

from autoballoon.lab.group import Group
from autoballoon.lab.image import Say
from autoballoon.lab.vm import Vm, VmSpec


class LabHost:
    """`async with LabHost(limit=..., swap=..., say=print) as host: vm = await host.start_vm(spec)`.

    Entering first removes what a dead lab left. Leaving, however it comes (end, error, Ctrl-C, SIGTERM), kills the guests and
    removes all that was made.
    """

    group: Group
    run: Path
    """The run folder; the sockets are run/ctl/NAME.qmp and run/eye/NAME.qmp."""

    def __init__(self, *, limit: int | None, swap: int, say: Say) -> None:
        """`limit`: bytes the group may hold, None for none; `swap`: bytes of the swap file, 0 for none."""

    async def __aenter__(self) -> "LabHost":
        raise NotImplementedError

    async def __aexit__(self, *_: object) -> None:
        raise NotImplementedError

    async def start_vm(self, spec: VmSpec, timeout: float = 60.0) -> Vm:
        """Boot a guest in the group and wait for "ready"; one retry; CouldNot after that. The host kills it at its end."""
        raise NotImplementedError
