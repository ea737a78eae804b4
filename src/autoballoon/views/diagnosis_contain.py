"""Why a guest is not contained where `contain = true`, and how it gets a control group that can have a limit."""

from collections.abc import Iterator

from autoballoon.core.facts import Facts, Finding, GuestFacts, Lack, Severity, Uncontained


def not_contained(guest: GuestFacts, facts: Facts) -> Iterator[Finding]:
    if guest.uncontained is not None:
        yield Finding(
            "not-contained",
            Severity.WARNING,
            guest.name,
            f"it cannot be contained: {guest.uncontained.why}",
            "Where it does not keep its balloon, nothing holds it to what it was granted, and others pay for it. It is "
            "balanced like any other.",
            _mend(guest, guest.uncontained),
        )


def _mend(guest: GuestFacts, one: Uncontained) -> str:
    group = one.group or ""
    unit = group.rpartition("/")[2]
    match one.lack:
        case Lack.UNSEEN:
            return "run autoballoon as root on the host itself, outside of containers and their cgroup namespaces"
        case Lack.UNCOUNTED if unit.endswith((".scope", ".service")):
            return f"systemctl set-property '{unit}' MemoryAccounting=yes"
        case Lack.UNCOUNTED if guest.manager != "libvirt" and group.count("/") > 4:
            return f"echo +memory > '{group.rpartition('/')[0]}/cgroup.subtree_control'"
        case _ if guest.manager == "libvirt":
            return (
                f"systemd-cgls '{group}'      # who else is in it?\n"
                "# qemu:///session gives no domain a group of its own: define it in qemu:///system\n"
                "# swtpm, virtiofsd and other helpers of the domain count too: with them it stays as it is"
            )
        case _:
            slice_ = unit if one.lack is Lack.HOSTS and unit.endswith(".slice") else "machine.slice"
            start = f"systemd-run --scope --slice={slice_} --unit='{guest.name}' -p MemoryAccounting=yes"
            return f"{start} qemu-system-x86_64 ...      # at its next start"
