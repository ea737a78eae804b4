"""The groups that systemd and libvirt make for a domain, made by hand on a real cgroup v2 tree: whose limit is whose.

machine.slice/machine-qemu\\x2d1\\x2dweb.scope holds a group `libvirt`, and in it a threaded group for each of QEMU's
threads; older libvirts have no `libvirt` between. (Nobody runs systemd here: it would only make the same folders.)
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoballoon.core.facts import Lack
from autoballoon.core.units import MIB
from autoballoon.host.guest_group import GuestGroups, Unfit

HERE = Path(__file__).parent


@contextlib.contextmanager
def domain(scope: Path, inner: str) -> Iterator[tuple[Path, int]]:
    """The group that counts the domain's memory, and the process that stands for its QEMU."""
    group = scope / inner
    parts = [group / "emulator", group / "vcpu0"]
    scope.mkdir()
    if inner:
        (scope / "cgroup.subtree_control").write_text("+memory")
        group.mkdir()
    for part in parts:
        part.mkdir()
        (part / "cgroup.type").write_text("threaded")
    words = [sys.executable, str(HERE / "threads.py"), *map(str, (group, *parts))]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield group, process.pid
    finally:
        process.kill()
        process.communicate()
        for folder in (*parts, group, scope):
            _remove(folder)


def _remove(folder: Path) -> None:
    """A group that was left a moment ago may still be busy."""
    for _ in range(50):
        with contextlib.suppress(OSError):
            folder.rmdir()
        if not folder.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{folder} cannot be removed")


@pytest.mark.parametrize("inner", ["libvirt", ""])
def test_a_domains_limit_is_on_the_group_that_counts_its_memory(slice_: Path, inner: str) -> None:
    with domain(slice_ / "machine-qemu\\x2d1\\x2dweb.scope", inner) as (counts, pid):
        assert Path(f"/proc/{pid}/cgroup").read_text().strip().endswith("/emulator")
        assert (counts / "cgroup.type").read_text() == "domain threaded\n"
        groups = GuestGroups()
        groups.require()
        group = groups.find(pid)
        assert group.path == counts
        assert group.held() > 40 * MIB
        assert group.set_high(100 * MIB) == 100 * MIB == group.high()
        group.check(pid)
        assert group.set_high(None) is None
        group.close()


def test_a_helper_beside_qemu_keeps_a_domain_from_being_contained(slice_: Path) -> None:
    """swtpm and virtiofsd are put where QEMU's emulator thread is."""
    with domain(slice_ / "machine-qemu\\x2d2\\x2ddb.scope", "libvirt") as (counts, pid):
        helper = subprocess.Popen(["sleep", "60"])
        try:
            (counts / "emulator" / "cgroup.procs").write_text(str(helper.pid))
            with pytest.raises(Unfit, match=rf"holds other processes too \(pid {helper.pid}\)") as caught:
                GuestGroups().find(pid)
            assert caught.value.facts.lack is Lack.SHARED
        finally:
            helper.kill()
            helper.wait()
