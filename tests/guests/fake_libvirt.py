"""A module like libvirt 9.0, over guests that live in this process: what the adapter calls, with QEMUs that may hang.

The same contract is run against it and against a real libvirtd (tests/lab/test_libvirt_real.py).
"""

import threading
import time
import uuid
from collections.abc import Callable

from autoballoon.core.units import KIB
from autoballoon.guests.fake import FakeGuest

_XML = """<domain type='kvm' id='{number}'><name>{name}</name><uuid>{uuid}</uuid>
<memory unit='KiB'>{memory}</memory><currentMemory unit='KiB'>{current}</currentMemory>
<devices>{devices}</devices></domain>"""
_TAGS = {
    "total": ("available", KIB),
    "available": ("usable", KIB),
    "free": ("unused", KIB),
    "caches": ("disk_caches", KIB),
    "swap_in": ("swap_in", KIB),
    "swap_out": ("swap_out", KIB),
    "major_faults": ("major_fault", 1),
}


class Error(Exception):
    """libvirtError."""


class FakeDomain:
    """One domain. Attributes may be changed at any time; `hangs` is cleared by the test to let calls go on."""

    def __init__(self, guest: FakeGuest, number: int) -> None:
        self.guest = guest
        self.uuid = str(uuid.uuid4())
        self.number = number
        self.state = (1, 1)
        self.pause = (3, 1)
        """What `suspend` makes of it: with a job that began just then libvirt tells of that one's pause."""
        self.period_s = 0
        self.wanted = guest.max
        """The inactive <currentMemory>."""
        self.is_persistent = True
        self.more_devices = ""
        self.answers = threading.Event()
        """Cleared: whoever asks QEMU waits, and whoever would wait for that does not get the job."""
        self.answers.set()
        self.unlocked = threading.Event()
        """Cleared: libvirt is at work on it, say in a hook, and whoever would look at it waits."""
        self.unlocked.set()
        self.job = threading.Lock()
        self.lies: dict[str, object] = {}
        """Values that replace what libvirt tells, by its names (without `balloon.`)."""
        self.served: dict[str, object] = {}
        self.periods: list[int] = []
        self.looks = 0
        """How often its size and statistics were asked for."""


class FakeLibvirt:
    """The module. `clock` is the guests' time; `refuses` makes `open` fail with that text."""

    VIR_DOMAIN_AFFECT_LIVE = 1
    VIR_DOMAIN_XML_INACTIVE = 2
    VIR_DOMAIN_STATS_STATE, VIR_DOMAIN_STATS_BALLOON = 1, 4
    VIR_CONNECT_LIST_DOMAINS_ACTIVE = 1
    VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE = 1
    VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT = 1 << 29
    VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_ID_REBOOT = 0, 1
    VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION = 17, 20
    VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_SUSPENDED = 0, 2, 3
    VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_STOPPED = 4, 5
    VIR_DOMAIN_EVENT_PMSUSPENDED, VIR_DOMAIN_EVENT_CRASHED = 7, 8
    libvirtError = Error

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.domains: dict[str, FakeDomain] = {}
        self.refuses: str | None = None
        self.refuses_uri: str | None = None
        """The only URI that is refused; None: all."""
        self.connections: list[_Connection] = []
        self.most_in_calls = 0
        self._numbers = 0

    def prepare(self, guest: FakeGuest) -> FakeDomain:
        """A domain that is about to start: libvirt keeps it locked while its hook runs, and has told nobody yet."""
        self._numbers += 1
        guest.interval_s = 0
        domain = FakeDomain(guest, self._numbers)
        domain.unlocked.clear()
        self.domains[domain.uuid] = domain
        return domain

    def begin(self, domain: FakeDomain) -> None:
        """Its hook is done, and it starts."""
        domain.unlocked.set()
        self.lifecycle(domain, self.VIR_DOMAIN_EVENT_STARTED)

    def add(self, guest: FakeGuest) -> FakeDomain:
        """A domain that starts now."""
        domain = self.prepare(guest)
        self.begin(domain)
        return domain

    def end(self, domain: FakeDomain) -> None:
        """Its QEMU is gone."""
        del self.domains[domain.uuid]
        domain.number = -1
        domain.answers.set()
        self.lifecycle(domain, self.VIR_DOMAIN_EVENT_STOPPED)

    def reset(self, domain: FakeDomain) -> None:
        """Reset: libvirt and QEMU serve what was last known."""
        domain.served = self.stats(domain) | {"actual": domain.guest.actual // KIB}
        domain.guest.reset(self.clock())
        self.event(self.VIR_DOMAIN_EVENT_ID_REBOOT, domain)

    def crash(self) -> None:
        """libvirtd ends; its guests go on."""
        for connection in list(self.connections):
            connection.is_open = False
            if connection.on_close is not None:
                connection.on_close(connection, 1, None)

    def lifecycle(self, domain: FakeDomain, event: int, detail: int = 0) -> None:
        """Tell whoever listens."""
        self.event(self.VIR_DOMAIN_EVENT_ID_LIFECYCLE, domain, event, detail)

    def event(self, kind: int, domain: FakeDomain, *arguments: object) -> None:
        """Tell whoever listens to this kind."""
        for connection in self.connections:
            for which, callback in list(connection.callbacks.values()):
                if which == kind:
                    callback(connection, _Handle(self, connection, domain), *arguments, None)

    def stats(self, domain: FakeDomain) -> dict[str, object]:
        """What QEMU serves, by libvirt's names."""
        guest = domain.guest
        guest.advance(self.clock())
        if domain.served and guest.taken_at is None:
            return {k: v for k, v in domain.served.items() if k != "actual"}
        told: dict[str, object] = {
            name: guest.reported[field] // unit
            for field, (name, unit) in _TAGS.items()
            if field in guest.reported
        }
        return (
            told
            | {"last_update": 0 if guest.taken_at is None else 1_790_000_000 + guest.answers}
            | domain.lies
        )

    # What the adapter calls of the module.

    def registerErrorHandler(self, *_: object) -> None: ...

    def virEventRegisterDefaultImpl(self) -> None: ...

    def virEventRunDefaultImpl(self) -> None:
        threading.Event().wait()

    def open(self, uri: str) -> "_Connection":
        if self.refuses is not None and self.refuses_uri in (None, uri):
            raise Error(self.refuses)
        connection = _Connection(self, uri)
        self.connections.append(connection)
        return connection

    def openReadOnly(self, uri: str) -> "_Connection":
        return self.open(uri)


class _Connection:
    def __init__(self, api: FakeLibvirt, uri: str) -> None:
        self.api = api
        self.uri = uri
        self.is_open = True
        self.is_let_go = False
        self.callbacks: dict[int, tuple[int, Callable[..., None]]] = {}
        self.on_close: Callable[..., None] | None = None

    def check(self) -> None:
        if not self.is_open:
            raise Error("internal error: client socket is closed")

    def check_handle(self) -> None:
        if self.is_let_go:
            raise Error("invalid connection pointer")

    def isAlive(self) -> bool:
        return self.is_open

    def close(self) -> None:
        """As in libvirt, one with callbacks stays open and goes on to tell, and they cannot be taken back any more."""
        self.is_let_go = True
        if self.on_close is None and not self.callbacks:
            self.is_open = False
            self.api.connections.remove(self)

    def setKeepAlive(self, interval: int, count: int) -> None: ...

    def registerCloseCallback(self, callback: Callable[..., None], _: object) -> None:
        self.on_close = callback

    def unregisterCloseCallback(self) -> None:
        self.check_handle()
        self.on_close = None

    def domainEventRegisterAny(
        self, _domain: object, kind: int, callback: Callable[..., None], _: object
    ) -> int:
        number = len(self.callbacks)
        self.callbacks[number] = (kind, callback)
        return number

    def domainEventDeregisterAny(self, number: int) -> None:
        self.check_handle()
        del self.callbacks[number]
        self.check()

    def lookupByUUIDString(self, text: str) -> "_Handle":
        self.check()
        if text not in self.api.domains:
            raise Error("Domain not found")
        self.api.domains[text].unlocked.wait()
        return _Handle(self.api, self, self.api.domains[text])

    def listAllDomains(self, flags: int) -> list["_Handle"]:
        self.check()
        return [_Handle(self.api, self, domain) for domain in self.api.domains.values()]

    def getAllDomainStats(self, groups: int, flags: int) -> list[tuple["_Handle", dict[str, object]]]:
        assert flags & self.api.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
        return self._stats(list(self.api.domains.values()), flags)

    def domainListGetStats(
        self, handles: list["_Handle"], groups: int, flags: int
    ) -> list[tuple["_Handle", dict[str, object]]]:
        return self._stats([handle.domain for handle in handles], flags)

    def _stats(self, domains: list[FakeDomain], flags: int) -> list[tuple["_Handle", dict[str, object]]]:
        self.check()
        assert flags & self.api.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        for domain in domains:
            domain.unlocked.wait()
        return [(handle := _Handle(self.api, self, domain), handle.row()) for domain in domains]


class _Handle:
    def __init__(self, api: FakeLibvirt, connection: _Connection, domain: FakeDomain) -> None:
        self._api = api
        self._connection = connection
        self.domain = domain

    def _ask_qemu(self, *, wait: bool = True) -> bool:
        """Enter the monitor; False when the job is another's and may not be waited for."""
        self._connection.check()
        if not self.domain.job.acquire(blocking=wait):
            return False
        try:
            self.domain.answers.wait()
            if self.domain.number < 0:
                raise Error("domain is not running")
            return True
        finally:
            self.domain.job.release()

    def row(self) -> dict[str, object]:
        domain, guest = self.domain, self.domain.guest
        told: dict[str, object] = {"state.state": domain.state[0], "state.reason": domain.state[1]}
        guest.advance(self._api.clock())
        actual = domain.served.get("actual", 0) if guest.taken_at is None else 0
        told["balloon.current"] = actual or guest.actual // KIB
        told["balloon.maximum"] = guest.max // KIB
        if guest.has_balloon and self._ask_qemu(wait=False):
            stats = self._api.stats(domain)
            stats["last-update"] = stats.pop("last_update")
            told |= {f"balloon.{name}": value for name, value in stats.items()}
        return told

    def UUIDString(self) -> str:
        return self.domain.uuid

    def ID(self) -> int:
        return self.domain.number

    def name(self) -> str:
        return self.domain.guest.name

    def isPersistent(self) -> bool:
        return self.domain.is_persistent

    def XMLDesc(self, flags: int) -> str:
        domain, guest = self.domain, self.domain.guest
        stats = f"<stats period='{domain.period_s}'/>" if domain.period_s else ""
        deflates = "on" if guest.deflates_itself else "off"
        balloon = f"<memballoon model='virtio' autodeflate='{deflates}'>{stats}</memballoon>"
        current = domain.wanted if flags & self._api.VIR_DOMAIN_XML_INACTIVE else guest.actual
        return _XML.format(
            number=domain.number,
            name=guest.name,
            uuid=domain.uuid,
            memory=guest.max // KIB,
            current=current // KIB,
            devices=(balloon if guest.has_balloon else "<memballoon model='none'/>") + domain.more_devices,
        )

    def state(self) -> tuple[int, int]:
        self._connection.check()
        return self.domain.state

    def jobStats(self) -> dict[str, int]:
        self._connection.check()
        return {"type": 2, "operation": 5} if self.domain.guest.migrating else {"type": 0}

    def suspend(self) -> None:
        self._run(self.domain.pause, self._api.VIR_DOMAIN_EVENT_SUSPENDED, running=False)

    def resume(self) -> None:
        self._run((1, 5), self._api.VIR_DOMAIN_EVENT_RESUMED, running=True)

    def _run(self, state: tuple[int, int], event: int, *, running: bool) -> None:
        self._ask_qemu()
        self.domain.guest.advance(self._api.clock())
        self.domain.guest.running = running
        self.domain.state = state
        self._api.lifecycle(self.domain, event)

    def setMemoryFlags(self, kib: int, flags: int) -> None:
        self._ask_qemu()
        if kib * KIB > self.domain.guest.max:
            raise Error("cannot set memory higher than max memory")
        self.domain.guest.set_target(kib * KIB, self._api.clock())

    def setMemoryStatsPeriod(self, seconds: int, flags: int) -> None:
        self._ask_qemu()
        domain, now = self.domain, self._api.clock()
        domain.guest.advance(now)
        if seconds and not domain.guest.interval_s:
            domain.guest.take_stats(now)
        domain.guest.interval_s = domain.period_s = seconds
        domain.periods.append(seconds)

    def memoryStats(self) -> dict[str, object]:
        self.domain.looks += 1
        self._ask_qemu()
        time.sleep(0)
        return self._api.stats(self.domain) | {"actual": self.domain.guest.actual // KIB, "rss": 1}
