"""The guest's agent: what it reads, says and hears, against a /proc of files and a port that is a terminal of ours."""

import ast
import importlib.util
import json
import marshal
import os
import select
import subprocess
import sys
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.units import MIB

PROGRAM = Path(__file__).parents[2] / "guest/agent/autoballoon_agent.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("autoballoon_agent", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


agent = _load()

MEMINFO = """MemTotal:         {total} kB
MemFree:           20000 kB
MemAvailable:     {available} kB
Cached:            50000 kB
SwapTotal:        {swap} kB
SwapFree:              0 kB
"""
VMSTAT = """nr_free_pages 5000
workingset_refault_anon 30
workingset_refault_file 400
pswpin 7
allocstall_dma 1
allocstall_dma32 2
allocstall_normal 3
allocstall_movable 4
oom_kill 5
"""
PSI = """some avg10=0.00 avg60=0.00 avg300=0.00 total={some}
full avg10=0.00 avg60=0.00 avg300=0.00 total=500000
"""


TERMINAL_S = 0.004
"""What is written to a terminal is at its other end a moment later: a thread of the kernel carries it."""


class Guest:
    """A root folder with /proc, and with /dev and a port where wanted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/pressure").mkdir(parents=True)
        (root / "proc/vmstat").write_text(VMSTAT)
        self.memory()
        self.psi(1_500_000)
        self.now = 100.0
        self.host = -1
        self.heard = b""

    def memory(self, available: int = 300, total: int = 512, swap: int = 0) -> None:
        """Sizes in MiB."""
        text = MEMINFO.format(total=total << 10, available=available << 10, swap=swap << 10)
        (self.root / "proc/meminfo").write_text(text)

    def psi(self, some_us: int) -> None:
        (self.root / "proc/pressure/memory").write_text(PSI.format(some=some_us))

    def plug_in(self) -> None:
        """A port, and the host at its other end."""
        self.host, port = os.openpty()
        tty.setraw(port)
        link = self.root / "dev/virtio-ports/org.autoballoon.0"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(port))
        os.set_blocking(self.host, False)
        os.close(port)

    def unplug(self) -> None:
        os.close(self.host)
        self.host = -1

    def said(self) -> list[dict[str, Any]]:
        """What the host has heard since the last call."""
        while select.select([self.host], [], [], TERMINAL_S)[0]:
            self.heard += os.read(self.host, 1 << 16)
        *lines, self.heard = self.heard.split(b"\n")
        return [json.loads(line) for line in lines]

    def agent(self, poll: Any = None) -> Any:
        """An agent whose clock is `now`; waiting moves it."""
        made = agent.Agent(
            str(self.root), clock=lambda: self.now, wall=lambda: self.now, poll=poll or Poll(self)
        )
        made.port.open()
        return made


class Poll:
    """A poll that lets the guest's clock run where it would wait; `events` come first."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._real = select.poll()
        self.events: list[tuple[int, int]] = []

    def register(self, fd: int, mask: int) -> None:
        if fd >= 0:
            self._real.register(fd, mask)

    def unregister(self, fd: int) -> None:
        self._real.unregister(fd)

    def poll(self, timeout_ms: int) -> list[tuple[int, int]]:
        events, self.events = self.events or self._real.poll(TERMINAL_S * 1000), []
        if not events:
            self._guest.now += timeout_ms / 1000
        return events


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    guest = Guest(tmp_path)
    yield guest
    if guest.host >= 0:
        os.close(guest.host)


def turns(made: Any, seconds: float, guest: Guest) -> None:
    until = guest.now + seconds
    while guest.now < until:
        made.turn()


def test_its_syntax_is_that_of_python_3_6() -> None:
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 6))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"gc", "json", "marshal", "os", "select", "sys", "time", "typing", "ctypes"}
    at_once = {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}
    assert at_once == {"gc", "os", "select", "sys", "time"}, "what is imported stays in the guest's memory"
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not called & {"preadv", "removeprefix", "removesuffix", "freeze", "monotonic_ns"}, "newer than 3.6"


def test_a_line_has_all_that_the_kernel_tells(guest: Guest) -> None:
    line = agent.Memory(str(guest.root)).line(3, b"tick")
    assert line.endswith(b"\n") and len(line) < 512
    assert json.loads(line) == {
        **{"v": 1, "seq": 3, "why": "tick", "total": 512 * MIB, "available": 300 * MIB},
        **{"swap_total": 0, "swap_used": 0, "refaults": 400, "psi_some_s": 1.5, "psi_full_s": 0.5},
        **{"alloc_stalls": 10, "oom_kills": 5},
    }


def test_older_kernels_names_are_known(guest: Guest) -> None:
    (guest.root / "proc/vmstat").write_text("workingset_refault 12\nallocstall 3\n")
    told = json.loads(agent.Memory(str(guest.root)).line(1, b"tick"))
    assert (told["refaults"], told["alloc_stalls"], told["oom_kills"]) == (12, 3, None)


def test_swap_on_zram_is_no_swap(guest: Guest) -> None:
    guest.memory(swap=300)
    (guest.root / "proc/swaps").write_text(
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        "/dev/zram0                              partition\t204800\t\t102400\t\t100\n"
        "/dev/vdb                                partition\t102400\t\t1024\t\t-2\n"
    )
    told = json.loads(agent.Memory(str(guest.root)).line(1, b"tick"))
    assert (told["swap_total"], told["swap_used"]) == (100 * MIB, 1 * MIB)


def test_what_is_not_there_is_unknown(tmp_path: Path) -> None:
    told = json.loads(agent.Memory(str(tmp_path)).line(1, b"tick"))
    assert {value for key, value in told.items() if key not in ("v", "seq", "why")} == {None}


def test_a_quiet_guest_says_one_line_a_second(guest: Guest) -> None:
    guest.plug_in()
    made = guest.agent()
    turns(made, 5.0, guest)
    said = guest.said()
    assert [one["why"] for one in said] == ["tick"] * len(said) and 5 <= len(said) <= 6
    assert [one["seq"] for one in said] == list(range(1, len(said) + 1))


def test_memory_that_falls_near_nothing_is_told_at_once(guest: Guest) -> None:
    guest.plug_in()
    guest.memory(available=100)
    made = guest.agent()
    turns(made, 0.05, guest)
    assert [one["why"] for one in guest.said()] == ["tick"]
    guest.memory(available=80)
    turns(made, 0.2, guest)
    (said,) = guest.said()
    assert (said["why"], said["available"]) == ("pressure", 80 * MIB)


def test_memory_that_falls_far_from_nothing_waits_for_the_next_line(guest: Guest) -> None:
    guest.plug_in()
    made = guest.agent()
    turns(made, 0.05, guest)
    guest.memory(available=200)
    turns(made, 0.8, guest)
    assert {one["why"] for one in guest.said()} == {"tick"}


def test_a_trigger_of_the_kernel_is_told_at_once(guest: Guest) -> None:
    guest.plug_in()
    poll = Poll(guest)
    made = guest.agent(poll)
    made.watch(-7)
    turns(made, 0.5, guest)
    guest.said()
    before = guest.now
    poll.events = [(-7, select.POLLPRI)]
    made.turn()
    assert guest.now == before
    assert [one["why"] for one in guest.said()] == ["pressure"]


def test_a_storm_of_triggers_stays_below_what_the_host_takes(guest: Guest) -> None:
    guest.plug_in()
    poll = Poll(guest)
    made = guest.agent(poll)
    made.watch(-7)
    said = 0
    for _ in range(1000):
        poll.events = [(-7, select.POLLPRI)]
        made.turn()
        said += len(guest.said()) if made._seq % 10 == 0 else 0
        guest.now += 0.01
    said += len(guest.said())
    assert 50 <= said <= 70, "in ten seconds"


def test_without_a_trigger_time_waited_is_looked_at(guest: Guest) -> None:
    guest.plug_in()
    made = guest.agent()
    turns(made, 0.05, guest)
    guest.psi(1_600_000)
    turns(made, 0.7, guest)
    assert [one["why"] for one in guest.said()] == ["tick", "pressure"]


def test_without_psi_it_goes_by_available_memory(guest: Guest) -> None:
    (guest.root / "proc/pressure/memory").unlink()
    guest.plug_in()
    guest.memory(available=60)
    made = guest.agent()
    turns(made, 0.05, guest)
    guest.memory(available=40)
    turns(made, 0.2, guest)
    said = guest.said()
    assert [one["why"] for one in said] == ["tick", "pressure"]
    assert said[1]["psi_some_s"] is None


def test_what_the_host_asks_is_kept_for_status(guest: Guest) -> None:
    guest.plug_in()
    made = guest.agent()
    os.write(guest.host, b'{"v":1,"target":536870912,"max":536870912}\n{"v":1,"tar')
    turns(made, 1.2, guest)
    guest.now += 600
    os.write(guest.host, b'get":314572800,"max":536870912,"more":[]}\n')
    turns(made, 1.2, guest)
    squeezed_at = made.orders.kept["since_s"]
    guest.now += 60
    os.write(guest.host, b'{"v":1,"target":209715200,"max":536870912}\n')
    turns(made, 1.2, guest)
    assert made.orders.kept["since_s"] == squeezed_at
    (guest.root / "proc" / str(os.getpid())).mkdir()
    says = agent.status(str(guest.root), guest.now).splitlines()
    assert says[0].startswith(
        "squeezed: the host asks this guest to be 200 MiB of 512 MiB; less than all since "
    )
    assert says[0].endswith("(1 min)")
    assert says[1:] == [
        "available: 300 MiB of the 512 MiB that its kernel counts",
        "waited for memory: 1.5 s since boot",
    ]


def test_status_of_a_guest_that_has_everything(guest: Guest) -> None:
    guest.plug_in()
    made = guest.agent()
    os.write(guest.host, b'{"v":1,"target":536870912,"max":536870912}\n')
    turns(made, 1.2, guest)
    (guest.root / "proc" / str(os.getpid())).mkdir()
    assert agent.status(str(guest.root), guest.now).startswith(
        "not squeezed: the host lets this guest have all of its 512"
    )


def test_status_of_an_agent_that_has_ended(guest: Guest) -> None:
    with pytest.raises(agent.CouldNot, match="has not said anything"):
        agent.status(str(guest.root), 0.0)
    guest.plug_in()
    made = guest.agent()
    os.write(guest.host, b'{"v":1,"target":536870912,"max":536870912}\n')
    turns(made, 1.2, guest)
    with pytest.raises(agent.CouldNot, match="does not run"):
        agent.status(str(guest.root), guest.now)


def test_status_is_true_while_the_guest_runs_short_all_the_time(guest: Guest) -> None:
    guest.plug_in()
    poll = Poll(guest)
    made = guest.agent(poll)
    made.watch(-7)
    (guest.root / "proc" / str(os.getpid())).mkdir()
    written, rename, began = [], os.rename, guest.now

    def counted(source: str, place: str) -> None:
        written.append(guest.now)
        rename(source, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent.os, "rename", counted)
        for mib in range(1, 100):
            os.write(guest.host, b'{"v":1,"target":%d,"max":536870912}\n' % (mib * MIB))
            made.turn()
            poll.events = [(-7, select.POLLPRI)]
            made.turn()
            guest.now += 0.1
            guest.said()
    kept = json.loads((guest.root / agent.KEPT).read_text())
    assert kept["heard_s"] > guest.now - 1.5
    assert 9 <= len(written) <= guest.now - began + 1, "once a second"


def test_an_agent_that_starts_anew_knows_nothing_of_what_was_asked(guest: Guest) -> None:
    guest.plug_in()
    first = guest.agent()
    os.write(guest.host, b'{"v":1,"target":5,"max":7}\n')
    turns(first, 1.2, guest)
    guest.agent().orders.forget()
    with pytest.raises(agent.CouldNot, match="has not said anything"):
        agent.status(str(guest.root), guest.now)


def test_without_ctypes_it_says_that_its_memory_is_not_locked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    monkeypatch.setattr(agent, "open", lambda *_: (_ for _ in ()).throw(PermissionError), raising=False)
    monkeypatch.setattr(agent.os, "setpriority", lambda *_: None)
    monkeypatch.setattr(agent.gc, "disable", lambda: None)
    agent.stand_fast()
    assert (
        capsys.readouterr().err == "its memory is not locked: the agent may wait with all others for memory\n"
    )


def test_it_runs_from_compiled_code(guest: Guest) -> None:
    guest.plug_in()
    port = os.open(guest.root / agent.PORT, os.O_RDWR | os.O_NOCTTY)  # what nobody has open is at its end
    with subprocess.Popen([sys.executable, PROGRAM, "--root", guest.root]) as process:
        try:
            assert select.select([guest.host], [], [], 20)[0], "it speaks"
            words = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
        finally:
            process.kill()
            os.close(port)
    assert words[1:3] == ["-IS", "-c"] and words[4:-1] == ["--root", str(guest.root)]
    assert words[3].endswith("# autoballoon-agent")


def test_its_code_fits_into_a_pipe() -> None:
    assert len(marshal.dumps(compile(PROGRAM.read_bytes(), str(PROGRAM), "exec"))) < 49152


HOSTILE = st.one_of(
    st.binary(max_size=300),
    st.sampled_from(
        [
            b"{" * 3000 + b"\n",
            b"[" * 100_000,
            b"x" * 5000 + b"\n",
            b'{"v":1,"target":true,"max":1}\n',
            b'{"v":1,"target":NaN,"max":1e400}\n',
            b'{"v":1,"target":-1,"max":5}\n',
            b'{"v":1,"target":' + b"9" * 4000 + b',"max":1}\n',
            b'{"v":2,"target":1,"max":1}\n',
            b'{"v":1,"target":,"max":1}\n',
            b'{"v":1,"target":0,"max":1}\n',
            b'{"v":1,"target":1}\n',
        ]
    ),
)


@given(st.lists(HOSTILE, max_size=4))
def test_a_host_that_talks_nonsense_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    port = agent.Port("", lambda: 0.0)
    orders = agent.Orders(str(tmp_path_factory.getbasetemp() / "none/status"))
    port.fd, host = os.pipe()
    os.set_blocking(port.fd, False)
    try:
        for part in [*parts, b'\n{"v":1,"target":5,"max":7}\n']:
            for at in range(0, len(part), 4096):
                os.write(host, part[at : at + 4096])
                for line in port.receive():
                    orders.hear(line, 1.0)
                assert len(port._heard) <= agent.LONGEST
    finally:
        os.close(port.fd)
        os.close(host)
    assert (orders.kept["target"], orders.kept["max"]) == (5, 7)


def test_a_port_that_goes_and_comes_again_is_opened_again(guest: Guest) -> None:
    guest.plug_in()
    made = guest.agent()
    turns(made, 1.5, guest)
    assert guest.said()
    guest.unplug()
    began, count = guest.now, 0
    while guest.now < began + 10:
        made.turn()
        count += 1
    assert count < 100, "a port that nobody listens to is looked at twice a second"
    made.port.close()  # as when the device is taken out
    guest.plug_in()
    turns(made, 2.5, guest)
    assert guest.said()


def test_a_host_that_does_not_read_costs_lines_and_no_time(guest: Guest) -> None:
    guest.plug_in()
    made = guest.agent()
    for _ in range(300):
        made._say(b"tick", guest.now)
    early = guest.said()
    made._say(b"tick", guest.now)
    made._say(b"tick", guest.now)
    late = guest.said()
    numbers = [said["seq"] for said in early + late]
    assert numbers == sorted(numbers) and len(early) < 300, "whole lines, some of them dropped"
    assert numbers[-1] == 302


def run(*words: str, root: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(PROGRAM), "--root", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_once_prints_what_would_be_sent(guest: Guest) -> None:
    done = run("--once", root=guest.root)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["available"] == 300 * MIB


@pytest.mark.parametrize(("words", "code"), [((), 3), (("status",), 3), (("--wrong",), 2)])
def test_what_cannot_be_done_is_one_sentence(guest: Guest, words: tuple[str, ...], code: int) -> None:
    done = run(*words, root=guest.root)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("autoballoon-agent: ") and done.stderr.count("\n") == 1


def test_a_kernel_without_psi_has_no_trigger(tmp_path: Path) -> None:
    set_trigger: Callable[[str], int | None] = agent.set_trigger
    assert set_trigger(str(tmp_path / "none")) is None
