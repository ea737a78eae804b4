"""A guest's own control group is found, and no other is ever touched."""

import os
from pathlib import Path

import pytest

from autoballoon.core.errors import BadInput
from autoballoon.core.units import MIB
from autoballoon.host.guest_group import GuestGroups, Unfit
from tests.host.groups_v2 import Tree

SCOPE = "machine.slice/machine-qemu\\x2d1\\x2dweb.scope"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def found(tree: Tree, pid: int = 41, spared: str | None = None) -> str:
    group = GuestGroups(tree.root).find(pid, None if spared is None else tree.cgroup / spared)
    group.close()
    return str(group.path.relative_to(tree.cgroup))


def test_the_group_that_the_process_is_in(tree: Tree) -> None:
    tree.group("qemu.slice")
    tree.group("qemu.slice/100.scope", 41)
    tree.process(41, "qemu.slice/100.scope")
    assert found(tree) == "qemu.slice/100.scope"


@pytest.mark.parametrize("nested", [True, False])
def test_a_domain_of_libvirt_is_its_scope_or_the_group_where_libvirt_counts(tree: Tree, nested: bool) -> None:
    tree.group("machine.slice")
    tree.group(SCOPE)
    tree.group(f"{SCOPE}/libvirt", 41, kind="domain threaded", memory=nested)
    tree.group(f"{SCOPE}/libvirt/emulator", kind="threaded", memory=False)
    tree.group(f"{SCOPE}/libvirt/vcpu0", kind="threaded", memory=False)
    tree.process(41, f"{SCOPE}/libvirt/emulator")
    assert found(tree) == (f"{SCOPE}/libvirt" if nested else SCOPE)


def test_a_group_that_holds_another_process_too_is_let_be(tree: Tree) -> None:
    tree.group("session.scope", 41, 42)
    tree.process(41, "session.scope")
    with pytest.raises(Unfit, match=r"other processes too \(pid 42\)"):
        found(tree)
    tree.group("session.scope", 41)
    assert found(tree) == "session.scope"
    tree.group("session.scope/inner", 43)
    with pytest.raises(Unfit, match=r"other processes too \(pid 43\)"):
        found(tree)


def test_a_group_above_is_not_taken_for_the_guests_own(tree: Tree) -> None:
    """Where memory is not counted for the guest alone, its slice holds all guests, be there only one just now."""
    tree.group("machine.slice")
    tree.group("machine.slice/qemu-1.scope", 41, memory=False)
    tree.process(41, "machine.slice/qemu-1.scope")
    with pytest.raises(Unfit, match="hand the memory controller down"):
        found(tree)
    tree.process(41, "")
    with pytest.raises(Unfit, match="hand the memory controller down"):
        found(tree)


def test_the_group_that_is_the_host_is_never_taken_nor_what_is_above(tree: Tree) -> None:
    tree.group("vms", 41)
    tree.process(41, "vms")
    for spared in ("vms", "vms/inner"):
        with pytest.raises(Unfit, match="is the host's"):
            found(tree, spared=spared)
    assert found(tree, spared="vms2") == "vms"


def test_what_lies_outside_of_our_namespace_or_has_gone(tree: Tree) -> None:
    tree.process(41, "../outside")
    for pid in (41, 99):
        with pytest.raises(Unfit, match="out of sight"):
            found(tree, pid)


def test_high_is_read_and_set(tree: Tree) -> None:
    tree.group("a.scope", 41, high="max")
    tree.process(41, "a.scope")
    group = GuestGroups(tree.root).find(41)
    assert group.high() is None
    assert group.set_high(300 * MIB) == 300 * MIB == tree.high("a.scope") == group.high()
    tree.holds("a.scope", 80 * MIB, cache=30 * MIB)
    assert (group.current(), group.held()) == (110 * MIB, 80 * MIB)
    assert group.set_high(None) is None
    assert tree.high("a.scope") is None
    group.close()


def test_version_1_has_no_such_thing(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    GuestGroups(tree.root).require()
    (tree.cgroup / "cgroup.controllers").write_text("cpu\n")  # both are mounted, and memory is version 1's
    with pytest.raises(BadInput, match=r"memory\.high, which only control groups of version 2 have"):
        GuestGroups(tree.root).require()
    (tree.root / "proc/self/mounts").write_text("cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n")
    with pytest.raises(BadInput, match="contain"):
        GuestGroups(tree.root).require()


def test_a_group_whose_name_is_not_text_is_let_be(tree: Tree) -> None:
    """It would be in the status and in the state file, which are JSON."""
    name = os.fsdecode(b"vm-\xff.scope")
    tree.group(name, 41)
    tree.process(41, "vm")
    (tree.root / "proc/41/cgroup").write_bytes(b"0::/" + os.fsencode(name) + b"\n")
    with pytest.raises(Unfit, match="is not UTF-8; give the group another"):
        found(tree)
