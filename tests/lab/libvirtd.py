"""A libvirtd of the test's own: another user's session daemon, with all its folders in one that is removed again.

Nothing of the machine's own libvirt is used or seen: every connection names this daemon's socket.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoballoon.lab.image import GuestImage
from autoballoon.lab.vm import QEMU

USER, GROUP = "nobody", "nogroup"
MEMORY_MIB = 512

_DOMAIN = """<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<name>{name}</name><memory unit='MiB'>{memory}</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><kernel>{folder}/kernel</kernel><initrd>{folder}/initrd</initrd>
<cmdline>console=ttyS0 quiet panic=-1 ab.workload=idle {words}</cmdline></os>
<features><acpi/><tcg><tb-cache unit='MiB'>16</tb-cache></tcg></features><on_reboot>restart</on_reboot>
<devices><emulator>{qemu}</emulator><serial type='file'><source path='{folder}/{name}.log'/></serial>
<controller type='usb' model='none'/><video><model type='none'/></video>{balloon}{devices}</devices>
<qemu:commandline>{more}</qemu:commandline></domain>"""
_ENTER = 'for procs in $ENTER; do echo $$ > "$procs" || exit 1; done; exec "$@"'
_HOOKED = 'mount --bind "$0" /etc/libvirt && exec "$@"'
"""Nobody else sees it: in a mount namespace of its own."""
BALLOON = "<memballoon model='virtio' autodeflate='on'/>"


class Libvirtd:
    """One daemon and its domains, from `start` to `close`; synchronous, for fixtures of a whole module."""

    def __init__(self, image: GuestImage) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="autoballoon-libvirt-", dir="/tmp"))
        self.uri = f"qemu:///session?socket={self.folder}/run/libvirt/libvirt-sock"
        shutil.copy(image.kernel, self.folder / "kernel")
        shutil.copy(image.initrd, self.folder / "initrd")
        settings = self.folder / "home/.config/libvirt"
        settings.mkdir(parents=True)
        (settings / "qemu.conf").write_text('stdio_handler = "file"\n')  # no virtlogd
        (self.folder / "run").mkdir()
        for path in (self.folder, *self.folder.rglob("*")):
            shutil.chown(path, USER, GROUP)
        self.folder.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, enter: Sequence[Path] = (), hook: str | None = None) -> None:
        """Start the daemon inside the groups whose cgroup.procs are `enter`, and wait until it listens.

        `hook`: a script for it to call when a domain is about to start, as that other user.
        """
        hooked: tuple[str, ...] = ()
        if hook is not None:
            script = self.folder / "etc/hooks/qemu"
            script.parent.mkdir(parents=True)
            script.write_text(hook)
            script.chmod(0o755)
            hooked = ("unshare", "--mount", "sh", "-c", _HOOKED, str(self.folder / "etc"))
        folders = (f"HOME={self.folder}/home", f"XDG_RUNTIME_DIR={self.folder}/run")
        user = ("setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--pdeathsig=KILL")
        with (self.folder / "libvirtd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "sh",
                    "-c",
                    _ENTER,
                    "sh",
                    *hooked,
                    *user,
                    "env",
                    "-i",
                    f"PATH={os.environ['PATH']}",
                    *folders,
                    "libvirtd",
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "ENTER": " ".join(str(procs) for procs in enter)},
                start_new_session=True,
            )
        self._until((self.folder / "run/libvirt/libvirt-sock").is_socket, "libvirtd does not listen")

    def stop(self) -> None:
        """End the daemon; its domains go on."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=10)

    def stand_still(self, *, still: bool = True) -> None:
        """Answer nobody, or go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if still else signal.SIGCONT)

    def virsh(self, *words: str) -> str:
        """What virsh prints."""
        done = subprocess.run(
            ["virsh", "-q", "-c", self.uri, *words], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, f"virsh {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def carry_agent(self, userland: Path) -> dict[str, str]:
        """For `create`: a domain in which our agent runs, and whose channel libvirt places where it likes."""
        shutil.copy(userland, self.folder / "userland")
        shutil.chown(self.folder / "userland", USER, GROUP)
        disk = (
            f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{self.folder}/userland'/>"
            "<target dev='vda' bus='virtio'/><readonly/></disk>"
        )
        channel = "<channel type='unix'><target type='virtio' name='org.autoballoon.0'/></channel>"
        return {"devices": disk + channel, "words": "ab.disk=vda:/userland ab.side=agent"}

    def create(
        self,
        name: str,
        *,
        balloon: str = BALLOON,
        more: str = "",
        persistent: bool = True,
        devices: str = "",
        words: str = "",
    ) -> None:
        """Define a domain and start it."""
        xml = self.folder / f"{name}.xml"
        xml.write_text(
            _DOMAIN.format(
                name=name,
                memory=MEMORY_MIB,
                folder=self.folder,
                qemu=shutil.which(QEMU),
                balloon=balloon,
                more=more,
                devices=devices,
                words=words,
            )
        )
        if persistent:
            self.virsh("define", str(xml))
            self.virsh("start", name)
        else:
            self.virsh("create", str(xml))

    def pid(self, name: str) -> int:
        """The domain's QEMU."""
        return int((self.folder / f"run/libvirt/qemu/run/{name}.pid").read_text())

    def remove_domains(self) -> None:
        """Destroy and undefine all, also those whose QEMU stands still."""
        for pid in self._qemus():
            os.kill(pid, signal.SIGCONT)
        for name in self.virsh("list", "--name").split():
            self.virsh("destroy", name)
        for name in self.virsh("list", "--all", "--name").split():
            self.virsh("undefine", name)

    def close(self) -> None:
        """End everything, and remove the folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pid in self._qemus():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._until(lambda: not self._qemus(), "QEMU does not end")
        shutil.rmtree(self.folder)

    def _qemus(self) -> list[int]:
        """The QEMU processes that boot from this folder."""
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (process / "cmdline").read_bytes().split(b"\0")
                    if f"{self.folder}/kernel".encode() in words:
                        found.append(int(process.name))
        return found

    @staticmethod
    def _until(done: Any, complaint: str) -> None:
        until = time.monotonic() + 20
        while not done():
            assert time.monotonic() < until, complaint
            time.sleep(0.05)


async def apart(work: Any, *arguments: Any) -> Any:
    """`work` in a thread: virsh takes its time, and the event loop must go on."""
    return await asyncio.to_thread(work, *arguments)
