"""From facts to findings: each thing that can be wrong is found, alone, with its mend; and nothing in a sound host."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoballoon.core.facts import (
    CONTAINMENT,
    Complaint,
    Facts,
    Finding,
    GuestFacts,
    HostFacts,
    Lack,
    Manager,
    Severity,
    Uncontained,
)
from autoballoon.core.units import GIB, MIB
from autoballoon.views.checkup import Checkup, encode, text
from autoballoon.views.diagnosis import can_work, diagnose, every_id

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/doctor.md"
HOST = HostFacts(swap=GIB, psi=True, huge_pages="madvise", max_ptes_none=0, nodes=(0, 1))
GUEST = GuestFacts(
    key="/run/vms/web.qmp", name="web", pid=42, ram=GIB, actual=GIB, resident=GIB // 2, balloon=True,
    device="/machine/peripheral/balloon0", driver=True, period_s=1, age_s=0.5, answered=True, autodeflate=True,
    reporting=True, kernel="6.1.0-50-amd64", vfio=False, hugetlb=0, locked=0, nodes=(0, 1),
)  # fmt: skip


def facts(host: dict[str, Any] | None = None, **guest: Any) -> Facts:
    return Facts(
        host=msgspec.structs.replace(HOST, **(host or {})),
        guests=(msgspec.structs.replace(GUEST, **guest),),
        configured=True,
    )


def found(given: Facts) -> dict[str, Finding]:
    return {one.id: one for one in diagnose(given)}


def test_nothing_is_wrong_with_a_sound_host() -> None:
    assert diagnose(facts()) == ()
    assert text(facts(), ()) == "looked at the host and 1 guest, and no daemon: nothing is wrong\n"


WRONG: list[tuple[str, str, Facts]] = [
    ("not-root", "warning", facts({"root": False})),
    ("capacity", "cannot", facts({"capacity": "nothing limits it"})),
    ("contain", "cannot", facts({"contain": "no memory.high here; remove it"})),
    ("no-swap", "warning", facts({"swap": 0})),
    ("no-psi", "warning", facts({"psi": False})),
    ("khugepaged", "warning", facts({"max_ptes_none": 511})),
    ("other-manager", "cannot", facts({"managers": (Manager("MOM", 7),)})),
    ("other-manager", "warning", facts({"managers": (Manager("pvestatd", 7),)})),
    ("floors", "warning", facts({"pool": GIB}, floor=GIB + MIB)),
    ("no-configuration", "note", msgspec.structs.replace(facts(), configured=False)),
    ("no-guests", "note", msgspec.structs.replace(facts(), guests=())),
    (
        "daemon-says",
        "warning",
        msgspec.structs.replace(facts(), daemon=True, said=(Complaint("web", "it lies"),)),
    ),
    ("not-connected", "warning", facts(seen=False, balloon=False)),
    ("others-socket", "cannot", facts(owned="it is the monitor of libvirt")),
    ("no-answer", "cannot", facts(trouble="gave no greeting")),
    ("no-process", "warning", facts(pid=None)),
    ("no-balloon", "cannot", facts(balloon=False, driver=None)),
    ("no-driver", "cannot", facts(driver=False)),
    ("statistics-off", "note", facts(period_s=0, answered=None, age_s=None)),
    ("no-statistics", "cannot", facts(answered=False, age_s=None)),
    ("no-statistics", "cannot", facts(answered=False, age_s=None, driver=None)),
    ("statistics-old", "warning", facts(age_s=30.0)),
    ("statistics-rare", "warning", facts(period_s=4)),
    ("statistics-rare", "cannot", facts(period_s=60)),
    ("autodeflate-off", "warning", facts(autodeflate=False)),
    ("reporting-off", "note", facts(reporting=False)),
    ("shrinker-kernel", "warning", facts(kernel="5.4.0-150-generic")),
    ("shrinker-kernel", "warning", facts(kernel="4.19.0-21-amd64")),
    ("shrinker-kernel", "warning", facts(kernel="5.6.19")),
    ("kernel-unknown", "note", facts(kernel=None)),
    ("vfio", "cannot", facts(vfio=True, locked=GIB)),
    ("hugetlb", "cannot", facts(hugetlb=GIB)),
    ("locked", "cannot", facts(locked=GIB)),
    ("frees-nothing", "warning", facts(actual=GIB // 2, resident=GIB // 2 + 17 * MIB)),
    ("numa", "warning", facts(nodes=(0,))),
    ("not-contained", "warning", facts(uncontained=Uncontained(Lack.SHARED, "pid 7 is in its group"))),
]


@pytest.mark.parametrize(
    ("word", "severity", "given"), WRONG, ids=[f"{word}-{bad}" for word, bad, _ in WRONG]
)
def test_what_is_wrong_is_found_and_nothing_else(word: str, severity: str, given: Facts) -> None:
    (one,) = diagnose(given)
    assert (one.id, one.severity.value) == (word, severity)
    assert one.what
    assert one.mend
    assert one.why.endswith(".")
    assert can_work((one,)) is (severity != "cannot")


def test_every_finding_there_is_has_a_case_here_and_a_line_in_the_reference() -> None:
    assert {word for word, _, _ in WRONG} == set(every_id())
    assert re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text(), re.MULTILINE) == list(every_id())


@pytest.mark.parametrize(
    "about",
    [
        {"kernel": "4.18.0-553.el8"}, {"kernel": "5.7.0"}, {"kernel": "5.10.0"}, {"kernel": "strange"},
        {"kernel": "5.4.0", "autodeflate": False},
        {"nodes": (0, 1)}, {"nodes": None},
        {"resident": GIB + 15 * MIB},
        {"locked": 64 * MIB},
        {"period_s": 2, "age_s": 4.0},
        {"running": False, "driver": False, "age_s": 900.0},
    ],
)  # fmt: skip
def test_what_is_no_trouble_is_not_told(about: dict[str, Any]) -> None:
    assert found(facts(**about)).keys() <= {"autodeflate-off"}


def test_a_guest_that_is_left_alone_is_not_judged() -> None:
    assert diagnose(facts(managed=False, balloon=False, vfio=True)) == ()


def test_who_sends_no_statistics_may_have_no_driver_where_nobody_tells_of_drivers() -> None:
    mends = {
        driver: found(facts(answered=False, age_s=None, driver=driver))["no-statistics"].mend
        for driver in (True, None)
    }
    assert "modprobe virtio_balloon" in mends[None]
    assert "modprobe" not in mends[True]
    assert all("blnsvr.exe" in mend for mend in mends.values())


def test_where_the_daemon_runs_statistics_are_its_own_business() -> None:
    assert diagnose(msgspec.structs.replace(facts(period_s=0), daemon=True)) == ()


def test_what_a_finding_explains_the_daemon_need_not_say_again() -> None:
    given = facts(balloon=False, driver=None)
    given = msgspec.structs.replace(
        given, daemon=True, said=(Complaint(GUEST.key, "no balloon"), Complaint("host", "no trigger"))
    )
    assert [(one.id, one.where) for one in diagnose(given)] == [
        ("no-balloon", "web"),
        ("daemon-says", "host"),
    ]


@pytest.mark.parametrize("manager", ["libvirt", "Proxmox VE", None])
def test_the_mend_is_in_the_words_of_who_started_the_guest(manager: str | None) -> None:
    words = {"libvirt": "<memballoon", "Proxmox VE": "qm set", None: "-device virtio-balloon-pci"}
    assert words[manager] in found(facts(manager=manager, balloon=False))["no-balloon"].mend


@pytest.mark.parametrize(
    ("word", "about", "option"),
    [
        ("autodeflate-off", {"autodeflate": False}, "deflate-on-oom=on"),
        ("reporting-off", {"reporting": False}, "free-page-reporting=on"),
        ("not-connected", {"seen": False}, "deflate-on-oom=on"),
    ],
)
def test_a_guest_of_proxmox_is_given_no_second_balloon(word: str, about: dict[str, Any], option: str) -> None:
    """It has one of Proxmox's, and QEMU takes one; and what `args` holds is not to be lost."""
    mend = found(facts(manager="Proxmox VE", **about))[word].mend
    assert f"-global virtio-balloon-pci.{option}'" in mend and "-device" not in mend
    assert "qm config VMID | grep ^args" in mend


@pytest.mark.parametrize("manager", ["libvirt", None])
def test_no_mend_leaves_a_gap(manager: str | None) -> None:
    """It is to be typed as it stands; only what QEMU is started with is the operator's."""
    for _, _, given in WRONG:
        guests = tuple(msgspec.structs.replace(guest, manager=manager) for guest in given.guests)
        for one in diagnose(msgspec.structs.replace(given, guests=guests)):
            assert "..." not in one.mend.replace("-device virtio-balloon-pci,...", "").replace(
                "x86_64 ...", ""
            )


@pytest.mark.parametrize(
    "uri", ["qemu:///system", "qemu:///session?socket=/run/user/1000/libvirt/libvirt-sock"]
)
def test_whose_libvirt_is_to_be_named(uri: str) -> None:
    given = facts(seen=False, manager="libvirt", connection=uri)
    assert found(given)["not-connected"].mend == f'[connect]\nlibvirt = ["{uri}"]'


@pytest.mark.parametrize(
    ("manager", "lack", "group", "mend"),
    [
        (None, Lack.SHARED, "/sys/fs/cgroup/user.slice/session-1.scope", "--slice=machine.slice --unit='web'"),
        (None, Lack.HOSTS, "/sys/fs/cgroup/vms.slice", "--slice=vms.slice"),
        (None, Lack.UNCOUNTED, "/sys/fs/cgroup/m.slice/q.scope", "set-property 'q.scope' MemoryAccounting"),
        (None, Lack.UNCOUNTED, "/sys/fs/cgroup/vms/web", "+memory > '/sys/fs/cgroup/vms/cgroup.subtree"),
        (None, Lack.UNCOUNTED, "/sys/fs/cgroup", "systemd-run --scope"),
        ("libvirt", Lack.SHARED, "/sys/fs/cgroup/m.slice/q.scope/libvirt", "systemd-cgls"),
        (None, Lack.UNSEEN, None, "as root on the host itself"),
    ],
)  # fmt: skip
def test_how_a_guest_gets_a_group_that_can_be_limited(
    manager: str | None, lack: Lack, group: str | None, mend: str
) -> None:
    given = facts(manager=manager, uncontained=Uncontained(lack, "why", group))
    assert mend in found(given)["not-contained"].mend


def test_what_keeps_a_guest_from_being_contained_is_told_once() -> None:
    given = facts(uncontained=Uncontained(Lack.SHARED, "its control group holds pid 7 too"))
    said = (
        Complaint(GUEST.key, "web: in other words; it is not contained", CONTAINMENT),
        Complaint(GUEST.key, "web takes more than it was granted"),
        Complaint("/run/b.qmp", "b: it is not contained", CONTAINMENT),
        Complaint("host", "no trigger"),
    )
    told = diagnose(msgspec.structs.replace(given, daemon=True, said=said))
    assert [(one.id, one.where) for one in told] == [
        ("daemon-says", GUEST.key),
        ("daemon-says", "/run/b.qmp"),
        ("daemon-says", "host"),
        ("not-contained", "web"),
    ]


def test_a_swap_file_is_proposed_only_where_it_works() -> None:
    assert found(facts({"swap": 0}))["no-swap"].mend.startswith("# on ext4 or XFS; ")


def test_the_worst_comes_first() -> None:
    given = facts({"swap": 0}, driver=False, reporting=False)
    assert [one.severity.value for one in diagnose(given)] == ["cannot", "warning", "note"]


def test_what_several_guests_share_is_told_once() -> None:
    other = msgspec.structs.replace(GUEST, name="db", reporting=False, manager="libvirt")
    first = msgspec.structs.replace(other, name="web-1")
    given = msgspec.structs.replace(facts(), guests=(first, other))
    told = text(given, diagnose(given))
    assert told.count("free pages") == 1
    assert "NOTE  web-1, db: it does not report free pages" in told
    assert "virsh edit GUEST " in told
    assert told.endswith("looked at the host and 2 guests, and no daemon: 2 notes\n")


def test_the_json_holds_findings_and_facts() -> None:
    given = facts(driver=False)
    read = msgspec.json.decode(encode(given, diagnose(given)), type=Checkup)
    assert (read.v, read.works, read.facts) == (1, False, given)
    assert read.findings[0].severity is Severity.CANNOT
