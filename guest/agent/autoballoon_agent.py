#!/usr/bin/python3 -IS
"""autoballoon-agent: tells the host how this guest's memory is, once a second, and at once when it runs short.

    autoballoon-agent            run; started by the systemd unit beside this file
    autoballoon-agent --once     print the line that would be sent, and end
    autoballoon-agent status     is this guest squeezed? what the host asks of it, and since when

One line of JSON a message, over the virtio-serial port org.autoballoon.0 (docs/reference/agent.md). This one file is
all there is of it; Python 3.6 or newer, nothing but its standard library. Bytes and seconds; null is unknown.

What it holds, its guest lacks: it runs without Python's `site` and without `json`, and from compiled code.
"""

import gc
import os
import select
import sys
import time

TYPE_CHECKING = False  # typing takes a megabyte that no guest need give
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

PORT = "dev/virtio-ports/org.autoballoon.0"
KEPT = "run/autoballoon-agent/status.json"
"""What the host has asked for, for `status`."""
ANEW = "import marshal, os; exec(marshal.loads(os.fdopen(%d, 'rb').read()))  # autoballoon-agent"
"""Runs compiled code that comes through a pipe."""
TICK_S = 1.0
"""Between two lines when nothing happens: as often as the balloon's own statistics come."""
GAP_S = 0.15
"""Between two lines when much happens: the host takes ten a second, and drops what is more."""
STALL_US, WINDOW_US = 20000, 500000
"""PSI trigger: tasks waited 20 ms for memory within half a second, the shortest window there is; the kernel looks ten
times in it (kernel/sched/psi.c)."""
LAST_WINDOW_US = 2000000
"""The shortest window that the kernel allows without CAP_SYS_RESOURCE."""
NEAR_LOOK_S, FAR_LOOK_S = 0.1, 0.5
"""Between two looks at MemAvailable: a guest with less than NEAR of its memory available, and one with more."""
NEAR = 4
FALL, FALL_PART = 8 << 20, 16
"""So many bytes less than last told, or this part of it, whichever is more: that is told at once."""
LONGEST = 4096
"""Bytes of a line, either way."""
DIGITS = 20
"""The longest number that anybody means: 64 bits."""
AWAY_S = 0.5
"""How often a port is tried that is not there, or at whose other end nobody listens."""

LINE = (
    b'{"v":1,"seq":%d,"why":"%s","total":%s,"available":%s,"swap_total":%s,"swap_used":%s,"refaults":%s,'
    b'"psi_some_s":%s,"psi_full_s":%s,"alloc_stalls":%s,"oom_kills":%s}\n'
)
ORDER = b'{"v":1,'
"""So begins what the host asks, with "target" and "max" behind it."""
KEPT_LINE = (
    '{"pid":%(pid)d,"target":%(target)d,"max":%(max)d,"since_s":%(since_s).3f,"heard_s":%(heard_s).3f}\n'
)
PRESSURE, TICK = b"pressure", b"tick"


class CouldNot(Exception):
    """One sentence for people; the exit code is 3."""


def whole_number(text: "bytes | bytearray", name: bytes, start: int, end: int) -> "Optional[int]":
    """The whole number that follows the first `name` from `start` to `end`; None where there is none."""
    at = text.find(name, start, end)
    if at < 0:
        return None
    at += len(name)
    while at < end and text[at] == 32:
        at += 1
    first = at
    while at < end and 48 <= text[at] <= 57:
        at += 1
    return int(text[first:at]) if first < at <= first + DIGITS else None


class File:
    """A file of /proc, kept open and read again and again into one buffer; empty where there is none."""

    def __init__(self, path: str, size: int) -> None:
        self._buffer = bytearray(size)
        self._into = [memoryview(self._buffer)[1:]]  # a newline before the first line, as before all others
        self._buffer[0] = 10
        self._end = 1
        try:
            self._fd: Optional[int] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = None

    @property
    def is_there(self) -> bool:
        return self._fd is not None

    def read(self) -> None:
        """Take its content as it is now."""
        self._end = 1
        if self._fd is not None:
            try:
                os.lseek(self._fd, 0, os.SEEK_SET)
                self._end = 1 + os.readv(self._fd, self._into)
            except OSError:  # PSI that is compiled in and switched off cannot be read
                os.close(self._fd)
                self._fd = None

    def number(self, name: bytes, after: bytes = b"") -> "Optional[int]":
        """The whole number that follows the first `name` that comes after `after`; None where it is not told."""
        at = self._buffer.find(after, 0, self._end)
        return None if at < 0 else whole_number(self._buffer, name, at, self._end)

    def sum(self, *names: bytes) -> "Optional[int]":
        """The sum of those that are told; None where none is."""
        total = None
        for name in names:
            value = self.number(name)
            if value is not None:
                total = value + (total or 0)
        return total

    def lines(self) -> "List[bytes]":
        """Its lines."""
        return bytes(self._buffer[1 : self._end]).splitlines()


class Memory:
    """What /proc under `root` tells of memory."""

    def __init__(self, root: str) -> None:
        proc = os.path.join(root, "proc")
        self.meminfo = File(os.path.join(proc, "meminfo"), 8192)
        self.vmstat = File(os.path.join(proc, "vmstat"), 16384)
        self.swaps = File(os.path.join(proc, "swaps"), 4096)
        self.psi = File(os.path.join(proc, "pressure/memory"), 512)
        self.total: Optional[int] = None
        self.available: Optional[int] = None
        self.stalled_us: Optional[int] = None
        """Microseconds in which something waited for memory, since boot."""

    def look(self, psi: bool) -> None:
        """The little that tells whether there is news; with `psi`, what waited too."""
        self.meminfo.read()
        self.total = _bytes(self.meminfo.number(b"\nMemTotal:"))
        self.available = _bytes(self.meminfo.number(b"\nMemAvailable:"))
        if psi:
            self.psi.read()
            self.stalled_us = self.psi.number(b" total=", b"\nsome ")

    def line(self, seq: int, why: bytes) -> bytes:
        """What is sent."""
        self.look(True)
        self.vmstat.read()
        swap_total, swap_used = self._swap()
        stat = self.vmstat.number
        refaults = stat(b"\nworkingset_refault_file ")
        stalls = self.vmstat.sum(
            b"\nallocstall_dma ",
            b"\nallocstall_dma32 ",
            b"\nallocstall_normal ",
            b"\nallocstall_movable ",
            b"\nallocstall_device ",
            b"\nallocstall ",  # before Linux 4.8, in place of all those
        )
        numbers = (
            self.total,
            self.available,
            swap_total,
            swap_used,
            # Of cache alone, as before Linux 5.9, which counted nothing else: what comes in from swap is no cache.
            stat(b"\nworkingset_refault ") if refaults is None else refaults,
            self.stalled_us,
            self.psi.number(b" total=", b"\nfull "),
            stalls,
            stat(b"\noom_kill "),
        )
        told = [b"null" if number is None else b"%d" % number for number in numbers]
        for at in (5, 6):
            waited_us = numbers[at]
            if waited_us is not None:
                told[at] = b"%.6f" % (waited_us / 1e6)
        return LINE % (seq, why, *told)

    def _swap(self) -> "tuple[Optional[int], Optional[int]]":
        """(size, used) of swap on disks: what zram holds stays in this guest's memory."""
        whole = self.meminfo.number(b"\nSwapTotal:")
        if not whole:
            return whole, whole
        self.swaps.read()
        size = used = 0
        for line in self.swaps.lines()[1:]:
            words = line.split()
            if len(words) >= 4 and b"zram" not in words[0] and words[2].isdigit() and words[3].isdigit():
                size += int(words[2])
                used += int(words[3])
        return size << 10, used << 10


def _bytes(kib: "Optional[int]") -> "Optional[int]":
    return None if kib is None else kib << 10


class Port:
    """This guest's end of the virtio-serial port; opened again and again while there is none."""

    def __init__(self, path: str, clock: "Callable[[], float]") -> None:
        self.path = path
        self._clock = clock
        self.fd: Optional[int] = None
        self.away_until: Optional[float] = None
        """Nobody listens at the other end; looked at again then."""
        self._rest = b""
        self._into = bytearray(LONGEST)
        self._heard = bytearray()
        self._is_long = False

    def open(self) -> None:
        """Open it. CouldNot when there is none, or somebody else has it."""
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        try:
            self.fd = os.open(self.path, flags)
        except OSError as error:
            raise CouldNot(
                "the port %s cannot be opened (%s); give the guest a virtserialport named org.autoballoon.0, and run "
                "one autoballoon-agent, as root" % (self.path, error.strerror)
            ) from None

    def close(self) -> None:
        """Let it go; it is tried again a little later."""
        if self.fd is not None:
            os.close(self.fd)
        self.fd, self._rest, self.away_until = None, b"", self._clock() + AWAY_S

    def send(self, line: bytes) -> bool:
        """Send a line, or drop it where the other end does not take it: an old one is of no use."""
        if self.fd is None:
            return False
        try:
            if self._rest:
                self._rest = self._rest[os.write(self.fd, self._rest) :]
                if self._rest:
                    return False
            self._rest = line[os.write(self.fd, line) :]
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            return False
        return True

    def receive(self) -> "List[bytes]":
        """The whole lines that have come; longer ones than LONGEST are left out."""
        try:
            count = 0 if self.fd is None else os.readv(self.fd, [self._into])
        except BlockingIOError:
            return []
        except OSError:
            self.close()
            return []
        if not count:  # nobody is at the other end
            self.away_until = self._clock() + AWAY_S
            return []
        self._heard += self._into[:count]
        parts = bytes(self._heard).split(b"\n")
        lines = parts[1:-1] if self._is_long else parts[:-1]
        if len(parts) > 1:
            self._is_long = False
        self._heard = bytearray(parts[-1])
        if len(self._heard) > LONGEST:
            self._is_long = True
            self._heard.clear()
        return [line for line in lines if len(line) <= LONGEST]


class Orders:
    """What the host has asked for, kept in a file for `status`. Times are the wall clock's."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.kept: Dict[str, Any] = {}
        self._is_new = False
        self._kept_at: Optional[float] = None

    def hear(self, line: bytes, now: float) -> None:
        """Take in a line of the host's, in the form in which the host writes it; another is left out."""
        if not line.startswith(ORDER):
            return
        target, most = (whole_number(line, name, 0, len(line)) for name in (b',"target":', b',"max":'))
        if target is None or most is None or not 0 < target < 1 << 63 or not 0 < most < 1 << 63:
            return
        was = self.kept
        is_squeezed = target < most
        since = was["since_s"] if was and is_squeezed == (was["target"] < was["max"]) else now
        self.kept = {"pid": os.getpid(), "target": target, "max": most, "since_s": since, "heard_s": now}
        self._is_new = True

    def forget(self) -> None:
        """What an agent before this one was asked is not known to hold."""
        try:
            os.unlink(self._path)
        except OSError:
            pass

    def keep(self, now: float) -> None:
        """Write what is new, once a second at most; a full or read-only disk is no reason to end."""
        if not self._is_new or (self._kept_at is not None and now - self._kept_at < TICK_S):
            return
        self._is_new, self._kept_at = False, now
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with open(self._path + ".new", "w") as file:
                file.write(KEPT_LINE % self.kept)
            os.rename(self._path + ".new", self._path)
        except OSError:
            pass


class Agent:
    """The loop: waits for the kernel, the host or the clock, and says what there is to say."""

    def __init__(
        self,
        root: str,
        clock: "Callable[[], float]" = time.monotonic,
        wall: "Callable[[], float]" = time.time,
        poll: "Optional[Any]" = None,
    ) -> None:
        self.memory = Memory(root)
        self.port = Port(os.path.join(root, PORT), clock)
        self.orders = Orders(os.path.join(root, KEPT))
        self.trigger: Optional[int] = None
        self._clock, self._wall = clock, wall
        self._poll = select.poll() if poll is None else poll
        self._polled: Optional[int] = None
        self._seq = 0
        self.memory.look(True)
        self._told = self.memory.available or 0
        """Bytes available, and microseconds waited, as of the last line."""
        self._told_us = self.memory.stalled_us or 0
        self._told_at = -GAP_S
        self._tick_at = self._look_at = clock()
        self._is_urgent = False

    def watch(self, fd: int) -> None:
        """Have this PSI trigger heard."""
        self.trigger = fd
        self._poll.register(fd, select.POLLPRI)

    def turn(self) -> None:
        """Wait for what comes next, and deal with it."""
        self._attend_port()
        wait_s = self._due() - self._clock()
        for fd, events in self._poll.poll(max(0, int(wait_s * 1000 + 0.999))):
            if fd == self.trigger:
                self._hear_kernel(events)
            else:
                self._hear_host(events)
        now = self._clock()
        if now >= self._look_at:
            self._look(now)
        if self._is_urgent and now - self._told_at >= GAP_S:
            self._say(PRESSURE, now)
        elif now >= self._tick_at:
            self._say(TICK, now)
        self.orders.keep(now)  # after what is urgent, and however much of that there is

    def _due(self) -> float:
        """When there is something to do at the latest."""
        due = min(self._tick_at, self._look_at)
        if self._is_urgent:
            due = min(due, self._told_at + GAP_S)
        return due if self.port.away_until is None else min(due, self.port.away_until)

    def _attend_port(self) -> None:
        """Open it where it is closed, and listen to it unless nobody is at the other end: then it always has news."""
        port = self.port
        if port.away_until is not None and self._clock() >= port.away_until:
            port.away_until = None
            if port.fd is None:
                try:
                    port.open()
                except CouldNot:
                    port.close()
        heard = port.fd if port.away_until is None else None
        if heard != self._polled:
            if self._polled is not None:
                self._poll.unregister(self._polled)
            if heard is not None:
                self._poll.register(heard, select.POLLIN)
            self._polled = heard

    def _hear_kernel(self, events: int) -> None:
        if events & (select.POLLERR | select.POLLNVAL) and self.trigger is not None:
            self._poll.unregister(self.trigger)
            os.close(self.trigger)
            self.trigger = None
        self._is_urgent = True

    def _hear_host(self, events: int) -> None:
        if events & select.POLLIN:
            for line in self.port.receive():
                self.orders.hear(line, self._wall())
        elif events & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
            self.port.away_until = self._clock() + AWAY_S

    def _look(self, now: float) -> None:
        """Whether available memory falls towards nothing, or, without a trigger, something waits for it."""
        memory = self.memory
        memory.look(self.trigger is None)
        available = memory.available
        is_near = available is not None and available < (memory.total or 0) // NEAR
        self._look_at = now + (NEAR_LOOK_S if is_near else FAR_LOOK_S)
        if available is not None and is_near and self._told - available > max(FALL, self._told // FALL_PART):
            self._is_urgent = True
        if self.trigger is None and (memory.stalled_us or 0) - self._told_us > STALL_US:
            self._is_urgent = True

    def _say(self, why: bytes, now: float) -> None:
        self._seq += 1
        self.port.send(self.memory.line(self._seq, why))
        self._told, self._told_us = self.memory.available or 0, self.memory.stalled_us or 0
        self._told_at, self._tick_at, self._is_urgent = now, now + TICK_S, False


def set_trigger(path: str) -> "Optional[int]":
    """The file of a PSI trigger; None where the kernel has none."""
    for window in (WINDOW_US, LAST_WINDOW_US):
        try:
            fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            os.write(fd, b"some %d %d\0" % (STALL_US, window))
        except OSError:
            os.close(fd)
        else:
            return fd
    return None


def stand_fast() -> None:
    """Be able to speak while all others wait for memory: as far as this system lets us."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-900")
    except OSError:
        pass
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    except OSError:
        pass
    try:
        from ctypes import CDLL  # a megabyte, for those only who run the agent

        # MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT (Linux 4.4): what was used once stays, and no more than that.
        libc = CDLL(None)
        is_locked = not (libc.mlockall(7) and libc.mlockall(3))
    except (ImportError, OSError, AttributeError):
        is_locked = False
    if not is_locked:
        sys.stderr.write("its memory is not locked: the agent may wait with all others for memory\n")
    gc.collect()
    gc.disable()  # nothing here makes cycles


def leave_compiler() -> None:
    """Begin anew from compiled code, as this process: what compiling took, over a megabyte, would stay with it."""
    if sys.argv[0] == "-c" or not sys.executable:
        return
    import marshal

    try:
        with open(__file__, "rb") as file:
            code = marshal.dumps(compile(file.read(), __file__, "exec"))
        end, other_end = os.pipe()
        os.set_blocking(other_end, False)
        is_whole = os.write(other_end, code) == len(code)  # nearly always: a pipe holds 64 KiB
        os.close(other_end)
        if is_whole:
            os.set_inheritable(end, True)
            os.execv(sys.executable, [sys.executable, "-IS", "-c", ANEW % end, *sys.argv[1:]])
        os.close(end)
    except OSError:
        pass  # it runs as well from this file


def run(root: str) -> None:
    """Speak until ended."""
    leave_compiler()
    agent = Agent(root)
    agent.port.open()
    agent.orders.forget()
    trigger = set_trigger("/proc/pressure/memory") if root == "/" else None
    if trigger is not None:
        agent.watch(trigger)
    for _ in range(20):  # all of the urgent path is in memory before it is locked, and its buffers are made
        agent.memory.line(0, PRESSURE)
    stand_fast()
    while True:
        agent.turn()


def status(root: str, now: float) -> str:
    """Whether this guest is squeezed, in sentences. CouldNot when no agent runs that would know."""
    import json  # a megabyte, for those only who ask

    try:
        with open(os.path.join(root, KEPT)) as file:
            kept = json.load(file)
        target, most, since_s = kept["target"], kept["max"], kept["since_s"]
        is_running = os.path.exists(os.path.join(root, "proc", str(kept["pid"])))
    except (OSError, ValueError, KeyError, TypeError):
        raise CouldNot(
            "the host has not said anything yet; look whether autoballoon-agent runs here and [connect] agent "
            "is set there"
        ) from None
    if not is_running:
        raise CouldNot("autoballoon-agent does not run any more; start it")
    since = "%s (%d min)" % (
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since_s)),
        max(0, now - since_s) // 60,
    )
    if target < most:
        first = "squeezed: the host asks this guest to be %s of %s; less than all since %s" % (
            _size(target),
            _size(most),
            since,
        )
    else:
        first = "not squeezed: the host lets this guest have all of its %s, since %s" % (_size(most), since)
    memory = Memory(root)
    memory.look(True)
    lines = [first]
    if memory.total is not None and memory.available is not None:
        lines.append(
            "available: %s of the %s that its kernel counts" % (_size(memory.available), _size(memory.total))
        )
    if memory.stalled_us is not None:
        lines.append("waited for memory: %.1f s since boot" % (memory.stalled_us / 1e6))
    return "".join(line + "\n" for line in lines)


def _size(size: int) -> str:
    return "%d MiB" % (size >> 20)


def main(words: "List[str]") -> int:
    """Exit codes: 0 done, 2 wrong words, 3 could not."""
    root = "/"
    if words[:1] == ["--root"] and len(words) > 1:  # for tests: another place of /proc, /dev and /run
        root, words = words[1], words[2:]
    try:
        if words == ["--once"]:
            sys.stdout.write(Memory(root).line(1, TICK).decode())
        elif words == ["status"]:
            sys.stdout.write(status(root, time.time()))
        elif words in (["-h"], ["--help"]):
            sys.stdout.write(__doc__ or "")
        elif words:
            sys.stderr.write("autoballoon-agent: unknown words; there is --once, status and --help\n")
            return 2
        else:
            run(root)
    except CouldNot as error:
        sys.stderr.write("autoballoon-agent: %s\n" % error)
        return 3
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
