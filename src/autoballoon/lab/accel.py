"""KVM where a short boot proves that it works, else emulation, with the reason."""

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Literal

import msgspec

from autoballoon.core.errors import CouldNot
from autoballoon.lab.cache import Say, cache_folder
from autoballoon.lab.commands import run
from autoballoon.lab.image import GuestImage
from autoballoon.lab.processes import boot_id
from autoballoon.lab.vm import QEMU, Accel, Vm, VmSpec
from autoballoon.lab.writing import writing

__all__ = ["KVM", "TCG", "Accel", "Wanted", "choose_accel", "translating"]

Wanted = Literal["auto", "kvm", "tcg"]

TCG = Accel(name="tcg", option="tcg,tb-size=16", why="")
"""The translation buffer counts as memory of the host; 16 MiB bound it, and are enough for all workloads but those that
build (`translated_mib` of experiments)."""
KVM = Accel(name="kvm", option="kvm", why="the guests run with KVM: a probe guest booted")

_PROBE_S = 10.0
"""With KVM the guest is ready in under a second; a broken KVM hangs for ever."""
_DOUBTED_S = 600.0
"""A failure is believed for so long: a host that was busy just then looks like a broken KVM."""


class _Probe(msgspec.Struct, frozen=True):
    """What a probe found, and for which machine, kernel and QEMU that holds."""

    holds_for: str
    trouble: str | None


async def choose_accel(wanted: Wanted, image: GuestImage, say: Say) -> Accel:
    """The accelerator to use; CouldNot when "kvm" was asked for outright and does not work.

    A probe's success is kept in the cache until the machine is booted again or has another kernel or QEMU; a failure
    for ten minutes, and "kvm" is tried again at once.
    """
    if wanted == "tcg":
        return msgspec.structs.replace(TCG, why="the guests run under emulation (TCG), as asked for")
    trouble = await _kvm_trouble(image, say, believed_s=0.0 if wanted == "kvm" else _DOUBTED_S)
    if trouble is None:
        return KVM
    if wanted == "kvm":
        raise CouldNot(f"KVM does not work here ({trouble}); use --accel tcg")
    return msgspec.structs.replace(TCG, why=f"the guests run under emulation (TCG): {trouble}")


def translating(accel: Accel, mib: int) -> Accel:
    """The same with a buffer of that size for translated code, where there is one."""
    if accel.name == "kvm":
        return accel
    return msgspec.structs.replace(accel, option=f"tcg,tb-size={mib}")


async def _kvm_trouble(image: GuestImage, say: Say, believed_s: float) -> str | None:
    """Why KVM is not used; a failure of so many seconds ago is believed without another probe."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "there is no /dev/kvm that may be used"
    kept = cache_folder() / "kvm-probe.json"
    holds_for = f"{boot_id()} {image.kernel_version} {run([QEMU, '--version']).splitlines()[0]}"
    try:
        probe = msgspec.json.decode(kept.read_bytes(), type=_Probe)
        if probe.holds_for == holds_for and (
            probe.trouble is None or 0 <= time.time() - kept.stat().st_mtime < believed_s
        ):
            return probe.trouble
    except (OSError, msgspec.DecodeError):
        pass
    say("trying KVM with a probe guest")
    probe = _Probe(holds_for=holds_for, trouble=await _boot(image))
    with contextlib.suppress(OSError):  # the next one tries again
        kept.write_bytes(msgspec.json.encode(probe))
    return probe.trouble


async def _boot(image: GuestImage) -> str | None:
    """What went wrong when a guest was booted with KVM, or None."""
    with contextlib.ExitStack() as stack:
        with writing(Path(os.environ.get("TMPDIR") or "/tmp"), "make room there or point TMPDIR elsewhere"):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="autoballoon-probe-"))
        async with await Vm.start(VmSpec(name="probe", image=image, accel=KVM), Path(folder), ()) as vm:
            try:
                await vm.expect("ready", timeout=_PROBE_S)
            except CouldNot as trouble:
                return f"/dev/kvm is there, but with KVM {trouble}"
    return None
