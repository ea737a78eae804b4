"""The status of the daemon: the JSON that programs read, and the same for people."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from autoballoon.core.model import Decision, Guest, SetTarget, Snapshot, Stay
from autoballoon.core.pool import Account
from autoballoon.core.units import size_text
from autoballoon.views.columns import aligned
from autoballoon.views.sentences import sentence


class Tick(msgspec.Struct, frozen=True):
    """How the last tick went."""

    number: int
    why: str
    """What caused it: "interval", or what made it early."""
    late_s: float
    """How long after its time it began."""
    took_s: float


class Lateness(msgspec.Struct, frozen=True):
    """By how much the last sixty regular ticks came late; half of them, and 99 of 100, by no more than these."""

    ticks: int
    missed: int
    """Ticks that were not made at all, since the one before came later than they were due."""
    p50_s: float
    p99_s: float
    most_s: float


class Books(msgspec.Struct, frozen=True):
    """The engine's account of the pool, with what follows from it."""

    capacity: int
    available: int
    reserve: int
    other: int
    pool: int
    charges: int
    cushion: int
    room: int
    guarantee: bool
    unsure: tuple[str, ...]
    short: bool


class Trouble(msgspec.Struct, frozen=True):
    """What keeps a guest from being balanced."""

    where: str
    says: str


class DaemonStatus(msgspec.Struct, frozen=True):
    """The daemon itself."""

    version: str
    pid: int
    policy: str
    dry_run: bool
    interval_s: float
    up_s: float
    tick: Tick
    account: Books
    problems: tuple[Trouble, ...] = ()
    overload: str = "host-swap"
    """What is done when needs exceed the pool."""
    lateness: Lateness | None = None


class Told(msgspec.Struct, frozen=True):
    """One decision as it stands in the status. `from` and `to` are bytes; null where nothing has a size."""

    guest: str
    kind: str
    before: int | None = msgspec.field(name="from")
    size: int | None = msgspec.field(name="to")
    reason: str
    numbers: Mapping[str, int | float]
    says: str


class Status(msgspec.Struct, frozen=True):
    """What `status --json` prints and every `watch` line carries."""

    daemon: DaemonStatus
    snapshot: Snapshot
    decisions: tuple[Told, ...]


def books(account: Account) -> Books:
    """The account as it is shown."""
    return Books(**{field: getattr(account, field) for field in Books.__struct_fields__})


def tell(decisions: Iterable[Decision]) -> tuple[Told, ...]:
    """The decisions as they are shown."""
    return tuple(_tell(decision) for decision in decisions)


def _tell(decision: Decision) -> Told:
    before = size = None
    if isinstance(decision, SetTarget):
        before, size = decision.before, decision.size
    elif isinstance(decision, Stay):
        before = size = decision.size
    return Told(
        guest=decision.guest,
        kind=str(decision.__struct_config__.tag),
        before=before,
        size=size,
        reason=decision.reason.value,
        numbers=decision.numbers,
        says=sentence(decision),
    )


def encode(status: Status) -> bytes:
    """The status as JSON, one line."""
    return msgspec.json.encode(status)


def decode(raw: bytes | msgspec.Raw) -> Status:
    """The status in `raw`, unknown fields ignored; msgspec.DecodeError when it is none."""
    return msgspec.json.decode(raw, type=Status)


def table(status: Status) -> str:
    """The status for people: a line for the daemon, one for the host, one per guest, and what is wrong."""
    daemon, account = status.daemon, status.daemon.account
    lines = ["DRY RUN: nothing is moved"] if daemon.dry_run else []
    lines.append(
        f"autoballoon {daemon.version}: policy {daemon.policy}, up {daemon.up_s:.0f} s, "
        f"tick {daemon.tick.number} took {daemon.tick.took_s * 1000:.0f} ms"
    )
    lines.append(host_line(account))
    if not status.snapshot.guests:
        lines.append("no guests")
    else:
        says = {told.guest: told.says for told in status.decisions}
        rows = [[title for title, _ in _COLUMNS] + ["LAST DECISION"]]
        for guest in sorted(status.snapshot.guests, key=lambda one: one.name):
            last = says.get(guest.name, "").removeprefix(f"{guest.name}: ")
            rows.append([show(guest) for _, show in _COLUMNS] + [last])
        lines += ["", *aligned(rows)]
    if daemon.problems:
        lines += ["", *(f"{trouble.where}: {trouble.says}" for trouble in daemon.problems)]
    return "\n".join(lines) + "\n"


def host_line(account: Books) -> str:
    """The host's books in one line."""
    return (
        f"host: {size_text(account.capacity)}, {size_text(account.available)} available, "
        f"reserve {size_text(account.reserve)}, other {size_text(account.other)}; guests are promised "
        f"{size_text(account.charges)} of a pool of {size_text(account.pool)}; {guarantee(account)}"
    )


def guarantee(account: Books) -> str:
    """Whether guests that keep to their targets cannot make this host swap, and who keeps it from being so."""
    if account.guarantee:
        return "guarantee: yes"
    return "guarantee: not yet" + (f" ({', '.join(account.unsure)})" if account.unsure else "")


def _used(guest: Guest) -> int | None:
    return None if guest.available is None else max(0, guest.actual - guest.available)


_COLUMNS: tuple[tuple[str, Callable[[Guest], str]], ...] = (
    ("GUEST", lambda guest: guest.name),
    ("SIZE", lambda guest: size_text(guest.actual)),
    ("USED", lambda guest: size_text(_used(guest))),
    ("CACHE", lambda guest: size_text(guest.caches)),
    ("BALLOON", lambda guest: size_text(max(0, guest.max - guest.actual))),
    ("HOST HOLDS", lambda guest: size_text(guest.resident)),
    ("FLOOR", lambda guest: size_text(guest.floor)),
    ("CEILING", lambda guest: size_text(guest.top)),
    ("SHARES", lambda guest: str(guest.shares)),
)
