"""What of the host matters to ballooning, from trees of /proc and /sys."""

from pathlib import Path

import pytest

from autoballoon.core.facts import Manager
from autoballoon.core.units import KIB
from autoballoon.host.checkup import host_facts

HUGE = "sys/kernel/mm/transparent_hugepage"


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    write(tmp_path, "proc/meminfo", "MemTotal: 8000 kB\nMemAvailable: 5000 kB\nSwapTotal: 4000 kB\n")
    write(tmp_path, "proc/pressure/memory", "some avg10=0.00 total=5\nfull avg10=0.00 total=1\n")
    write(tmp_path, f"{HUGE}/enabled", "always [madvise] never\n")
    write(tmp_path, f"{HUGE}/khugepaged/max_ptes_none", "511\n")
    write(tmp_path, "sys/devices/system/node/has_memory", "0-1\n")
    return tmp_path


def run(root: Path, pid: int, *words: str) -> None:
    write(root, f"proc/{pid}/cmdline", "".join(word + "\0" for word in words))


def test_a_host_with_everything(host: Path) -> None:
    facts = host_facts(root=host)
    assert (facts.swap, facts.psi, facts.capacity, facts.managers) == (4000 * KIB, True, None, ())
    assert (facts.huge_pages, facts.max_ptes_none, facts.nodes) == ("madvise", 511, (0, 1))


def test_a_host_that_tells_little(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal: 8000 kB\nMemAvailable: 5000 kB\nSwapTotal: 0 kB\n")
    facts = host_facts(root=tmp_path)
    assert (facts.swap, facts.psi, facts.huge_pages, facts.max_ptes_none, facts.nodes) == (
        0,
        False,
        None,
        None,
        (),
    )


def test_a_capacity_that_cannot_be_used(host: Path) -> None:
    facts = host_facts("cgroup:/sys/fs/cgroup/none", root=host)
    assert facts.capacity is not None
    assert "/sys/fs/cgroup/none" in facts.capacity


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("/usr/bin/python3", "/usr/sbin/momd", "-c", "/etc/vdsm/mom.conf"), "MOM"),
        (("pvestatd",), "pvestatd"),
        (("/usr/sbin/xenopsd-xc", "-daemon"), "xenopsd"),
        (("/usr/sbin/squeezed",), "squeezed"),
        (("/usr/bin/python3", "/usr/bin/qmemmand"), "qmemman"),
        (("/usr/bin/python3", "-I", "/usr/bin/autoballoon", "run", "--config", "x"), "autoballoon"),
    ],
)
def test_other_managers_are_known_by_their_words(host: Path, words: tuple[str, ...], name: str) -> None:
    run(host, 500, *words)
    run(host, 501, *words)
    assert host_facts(daemon=9, root=host).managers == (Manager(name, 500),)


@pytest.mark.parametrize(
    "words",
    [("grep", "momd"), ("vim", "/usr/sbin/squeezed"), ("/usr/bin/momd2",), ("autoballoon", "status"), ("",)],
)
def test_who_only_names_one_is_none(host: Path, words: tuple[str, ...]) -> None:
    run(host, 500, *words)
    assert host_facts(daemon=9, root=host).managers == ()


def test_the_daemon_that_was_asked_is_no_other_manager(host: Path) -> None:
    run(host, 9, "autoballoon", "run", "--config", "x")
    assert host_facts(daemon=9, root=host).managers == ()
    run(host, 12, "autoballoon", "run", "--config", "y")
    assert host_facts(daemon=9, root=host).managers == (Manager("autoballoon", 12),)
