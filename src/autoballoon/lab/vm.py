"""One guest's whole lifetime: its QEMU process, its console, its two QMP sockets."""

import asyncio
import collections
import contextlib
import os
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from autoballoon.core.errors import CouldNot
from autoballoon.core.units import MIB
from autoballoon.lab.commands import last_line
from autoballoon.lab.group import ENVIRONMENT
from autoballoon.lab.image import GuestImage
from autoballoon.lab.writing import CACHE, RUN, writing

QEMU = "qemu-system-x86_64"
BALLOON = "virtio-balloon-pci,id=balloon0,deflate-on-oom=on"
"""The device line of a guest that may deflate by itself; append ",free-page-reporting=on" for the other."""

PLAIN_CPU = "qemu64,-cx16"
"""An emulated processor without cmpxchg16b, for kernels newer than 6.1. With it most guests of 6.12 crash in QEMU 7.2,
with rubbish in the flags right after that instruction, which their allocator uses (guest/driver/README.md)."""

_MARK = b"@ab "
_KEPT_LINES = 400
_ENTER = 'for procs in $ENTER; do echo $$ > "$procs" || exit 1; done; exec "$@"'
"""The shell enters the groups before QEMU exists, so that each of its pages is charged there."""


class Accel(msgspec.Struct, frozen=True):
    """What runs the guests' code."""

    name: Literal["kvm", "tcg"]
    option: str
    """QEMU's `-accel`."""
    why: str
    """Why this one, in a sentence."""


class Event(msgspec.Struct, frozen=True):
    """One line that the workload printed on its console: `@ab {"event": NAME, ...}`."""

    name: str
    """ready, filled, begin, short, phase, done, oom, answer, failed"""
    at: float
    """When it arrived, time.monotonic()."""
    data: dict[str, Any]


class VmSpec(msgspec.Struct, frozen=True):
    """What a guest is made of."""

    name: str
    image: GuestImage
    accel: Accel
    memory_mib: int = 512
    cpus: int = 1
    workload: str = "idle"
    """idle, eat, wave or cache; or inside, which needs a userland and a project among its disks."""
    params: Mapping[str, int] = {}
    """The workload's own parameters (`ab.NAME=VALUE` on the kernel command line)."""
    balloon: str | None = BALLOON
    """The balloon's device line; None: a guest without a balloon."""
    objects: tuple[str, ...] = ()
    """Lines of QEMU's objects that the balloon's device names."""
    driver: str | None = None
    """The balloon's driver is ours, with deflate= so; None: Linux's. The image must have ours."""
    swap_mib: int = 0
    """Swap of its own, on a disk of its own that is as new at each start; 0: none."""
    disks: Mapping[str, Path] = {}
    """Ext4 images by the folder in which the guest sees them, opened read-only by every guest that has them."""
    boot: tuple[str, ...] = ()
    """More words for the kernel's command line."""
    port: bool = False
    """Virtio-serial ports for our agent and for QEMU's; their sockets are run/ctl/NAME.agent and NAME.qga."""
    side: str | None = None
    """What runs in the guest beside its workload, from its userland: agent or qga. The image must have the agent."""
    incoming: bool = False
    """It waits for another QEMU's guest to migrate to it (QMP `migrate-incoming`), and never says that it is ready."""
    may_reset: bool = False
    """True: a reset boots the guest again; False: it ends QEMU."""


def command(spec: VmSpec, ctl: Path, eye: Path, swap: Path | None = None) -> list[str]:
    """QEMU's command line. Its disks bypass the host's page cache: only guest memory is to be charged."""
    shared = {"/disk": spec.image.disk, **spec.disks}
    names = [f"vd{chr(ord('a') + number)}" for number in range(len(shared) + 1)]
    words = [
        *("console=ttyS0", "quiet", "panic=-1", *spec.boot, f"ab.workload={spec.workload}"),
        *(f"ab.disk={name}:{folder}" for name, folder in zip(names, shared, strict=False)),
        *([f"ab.driver={spec.driver}"] if spec.driver else []),
        *([f"ab.side={spec.side}"] if spec.side else []),
        *([f"ab.swap={names[len(shared)]}"] if swap else []),
        *(f"ab.{name}={value}" for name, value in spec.params.items()),
    ]
    newer = spec.accel.name == "tcg" and not spec.image.kernel_version.startswith("6.1.")
    read_only = "if=virtio,format=raw,readonly=on,cache=none,file.locking=off"
    return [
        QEMU,
        *("-name", spec.name, "-machine", "q35", "-accel", spec.accel.option, "-m", str(spec.memory_mib)),
        *("-smp", str(spec.cpus)),
        *(("-cpu", PLAIN_CPU) if newer else ()),
        *("-nodefaults", "-no-user-config", "-display", "none", *(() if spec.may_reset else ("-no-reboot",))),
        *("-kernel", str(spec.image.kernel), "-initrd", str(spec.image.initrd), "-append", " ".join(words)),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *(word for disk in shared.values() for word in ("-drive", f"file={disk},{read_only}")),
        *(("-drive", f"file={swap},if=virtio,format=raw,cache=none") if swap else ()),
        *(word for line in spec.objects for word in ("-object", line)),
        *(("-device", spec.balloon) if spec.balloon else ()),
        *(_ports(ctl) if spec.port else ()),
        *(("-incoming", "defer") if spec.incoming else ()),
        *("-qmp", f"unix:{ctl},server=on,wait=off", "-qmp", f"unix:{eye},server=on,wait=off"),
    ]  # fmt: skip


def agent_socket(ctl: Path) -> Path:
    """The socket of the agent's port, beside the controller's."""
    return ctl.with_suffix(".agent")


def qga_socket(ctl: Path) -> Path:
    """The socket of qemu-guest-agent's port."""
    return ctl.with_suffix(".qga")


def _ports(ctl: Path) -> tuple[str, ...]:
    return (
        *("-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=agent,path={agent_socket(ctl)},server=on,wait=off"),
        *("-device", "virtserialport,chardev=agent,name=org.autoballoon.0"),
        *("-chardev", f"socket,id=qga,path={qga_socket(ctl)},server=on,wait=off"),
        *("-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0"),
    )


def _new_disk(folder: Path, spec: VmSpec) -> Path:
    disk = folder / f"{spec.name}.swap"
    with writing(disk, CACHE):
        folder.mkdir(exist_ok=True)
        with disk.open("wb") as file:
            disk.chmod(0o600)
            file.truncate(spec.swap_mib * MIB)
    return disk


class Vm:
    """A running QEMU, from `await Vm.start(...)` on; it has booted after `await vm.expect("ready", timeout=...)`."""

    def __init__(self, spec: VmSpec, ctl: Path, eye: Path, process: Process) -> None:
        self.spec = spec
        self.name = spec.name
        self.ctl = ctl
        """QMP socket for the controller."""
        self.eye = eye
        """QMP socket for the instruments."""
        self.pid = process.pid
        """QEMU's process, in the lab's group."""
        self.heard: list[Event] = []
        """Every event so far, oldest first."""
        self.ended_at: float | None = None
        """When QEMU ended, by time.monotonic()."""
        self._said: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._process = process
        self._expected = 0
        self._news = asyncio.Condition()
        self._errors = b""
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, spec: VmSpec, run: Path, enter: Sequence[Path], scratch: Path | None = None) -> "Vm":
        """Start QEMU inside the groups whose cgroup.procs are `enter`; it dies when this process dies.

        The sockets are run/ctl/NAME.qmp and run/eye/NAME.qmp; a swap disk is scratch/NAME.swap, and takes room there
        only as it is used. CouldNot when QEMU is not installed, or there is no room for them.
        """
        swap = _new_disk(scratch, spec) if scratch is not None and spec.swap_mib else None
        ctl, eye = run / "ctl" / f"{spec.name}.qmp", run / "eye" / f"{spec.name}.qmp"
        for socket in (ctl, eye, agent_socket(ctl), qga_socket(ctl)):
            with writing(socket, RUN):
                socket.parent.mkdir(parents=True, exist_ok=True)
                socket.unlink(missing_ok=True)
        words = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", _ENTER, "sh", *command(spec, ctl, eye, swap)]
        environment = {**os.environ, **ENVIRONMENT, "ENTER": " ".join(str(procs) for procs in enter)}
        process = await asyncio.create_subprocess_exec(
            *words, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment, start_new_session=True
        )
        return cls(spec, ctl, eye, process)

    @property
    def is_alive(self) -> bool:
        """Whether QEMU runs."""
        return self._process.returncode is None

    async def expect(self, *names: str, timeout: float) -> Event:  # noqa: ASYNC109  (it ends in CouldNot)
        """The next event of one of these names, others skipped; CouldNot when QEMU dies or `timeout` seconds pass."""
        wanted = " or ".join(names)
        try:
            async with asyncio.timeout(timeout), self._news:
                while True:
                    while self._expected < len(self.heard):
                        event = self.heard[self._expected]
                        self._expected += 1
                        if event.name in names:
                            return event
                        if event.name == "failed":
                            raise CouldNot(
                                f"the workload of guest {self.name} failed: {event.data.get('what')}"
                            )
                    if self._reader.done():
                        raise CouldNot(
                            f"guest {self.name} ended before it said {wanted}: {self.last_words()}"
                        )
                    await self._news.wait()
        except TimeoutError as late:
            raise CouldNot(f"guest {self.name} did not say {wanted} within {timeout:g} s") from late

    async def events(self) -> AsyncIterator[Event]:
        """Every event as it comes, from the first on, until QEMU has ended; `expect` misses none for it."""
        told = 0
        while True:
            async with self._news:
                while told == len(self.heard) and not self._reader.done():
                    await self._news.wait()
            if told == len(self.heard):
                return
            yield self.heard[told]
            told += 1

    @property
    def transcript(self) -> str:
        """The last lines of its console that are no events."""
        return "\n".join(self._said)

    def last_words(self) -> str:
        """QEMU's last line on stderr; without one how its guest's kernel panicked, else QEMU's exit status."""
        if not self._errors and (panics := [line for line in self._said if "Kernel panic" in line]):
            return panics[0][:300]
        if not self._errors:
            return f"it said nothing, and QEMU's exit status was {self._process.returncode}"
        return last_line(self._errors.decode(errors="replace"))

    def send(self, line: str) -> None:
        """Type a line on the console: "go" for wave; "take MIB", "free", "read MIB", "drop", "memory" for eat."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    def stop(self) -> None:
        """SIGSTOP to QEMU: a host process that hangs, not a paused guest."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT to QEMU."""
        os.kill(self.pid, signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL to QEMU, and wait until it is gone. Safe to call twice."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reader
        for socket in (self.ctl, self.eye, agent_socket(self.ctl), qga_socket(self.ctl)):
            socket.unlink(missing_ok=True)

    async def wait(self) -> None:
        """Until QEMU has ended, by whatever cause."""
        await self._reader

    async def __aenter__(self) -> "Vm":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def _read(self) -> None:
        assert self._process.stdout is not None and self._process.stderr is not None
        try:
            # Both at once: a QEMU that cannot write a warning stands still.
            _, self._errors = await asyncio.gather(
                self._listen(self._process.stdout), self._process.stderr.read()
            )
            await self._process.wait()
        finally:
            self.ended_at = time.monotonic()
            async with self._news:
                self._news.notify_all()

    async def _listen(self, console: asyncio.StreamReader) -> None:
        async for line in console:
            if line.startswith(_MARK):
                await self._hear(line.removeprefix(_MARK))
            elif shown := line.decode(errors="replace").rstrip():
                self._said.append(shown)

    async def _hear(self, line: bytes) -> None:
        with contextlib.suppress(msgspec.DecodeError):
            data = msgspec.json.decode(line, type=dict[str, Any])
            async with self._news:
                self.heard.append(Event(name=str(data.pop("event", "")), at=time.monotonic(), data=data))
                self._news.notify_all()
