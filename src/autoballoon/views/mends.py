"""How what is wrong with a guest is mended: the exact command, XML or option, by who manages it."""

from autoballoon.core.facts import GuestFacts

_QMP = '{{"execute":"qom-set","arguments":{{"path":"{device}","property":"guest-stats-polling-interval","value":1}}}}'


def device(guest: GuestFacts, lacks: str = "") -> str:
    """How the device is to be written; none of it can be changed while the guest runs."""
    deflates = "off" if lacks == "no-autodeflate" else "on"
    if guest.manager == "libvirt":
        return (
            f"virsh edit {guest.name}      # then shut it down and start it again\n"
            f"<memballoon model='virtio' autodeflate='{deflates}' freePageReporting='on'>"
            "<stats period='1'/></memballoon>"
        )
    if guest.manager == "Proxmox VE":
        if not lacks:
            return "qm set VMID --balloon MIB      # less than its memory; then stop it and start it again"
        option = "free-page-reporting=on" if lacks == "reporting" else f"deflate-on-oom={deflates}"
        return _arguments(f"-global virtio-balloon-pci.{option}")
    options = f"virtio-balloon-pci,id=balloon0,deflate-on-oom={deflates},free-page-reporting=on"
    return f"-device {options},guest-stats-polling-interval=1      # at its next start"


def _arguments(more: str) -> str:
    """How a guest of Proxmox VE gets words on QEMU's command line; it has a balloon device of Proxmox's already."""
    return (
        "qm config VMID | grep ^args      # what is there has to stay, in one text with this:\n"
        f"qm set VMID --args '{more}'      # then stop it and start it again"
    )


def period(guest: GuestFacts) -> str:
    if guest.manager == "libvirt":
        return f"virsh dommemstat {guest.name} --period 1 --live --config"
    later = "guest-stats-polling-interval=1 in its -device virtio-balloon-pci,...      # at its next start"
    return (
        later if guest.device is None else f"{_QMP.format(device=guest.device)}      # by QMP, now\n{later}"
    )


def second_socket(guest: GuestFacts) -> str:
    line = f"-qmp unix:/run/vms/{guest.name}.qmp,server=on,wait=off"
    if guest.manager == "libvirt":
        return f'[connect]\nlibvirt = ["{guest.connection or "qemu:///system"}"]'
    if guest.manager == "Proxmox VE":
        deflates = "-global virtio-balloon-pci.deflate-on-oom=on"
        return f"{_arguments(f'{line} {deflates}')}\nqm set VMID --shares 0      # or pvestatd moves it too"
    return f"{line}      # at its next start"


def prefer_node(guest: GuestFacts, node: int) -> str:
    """How its memory comes to lie on a NUMA node as long as there is room, and elsewhere then."""
    later = "      # at its next start"
    if guest.manager == "libvirt":
        return f"virsh numatune {guest.name} --mode preferred --nodeset {node} --config{later}"
    return (
        f"policy=preferred,host-nodes={node} in its -object memory-backend-ram, in place of policy=bind{later}\n"
        f"numactl --preferred={node} in place of --membind, where it is started so{later}"
    )


def leave_alone(guest: GuestFacts, otherwise: str) -> str:
    return f'[guests."{guest.name}"]\nmanage = false      # or give it {otherwise}'
