"""The status of the daemon: the JSON that programs read, and the same for people."""

from collections.abc import Iterable, Mapping

import msgspec

from autoballoon.core.model import Decision, Guest, Reason, SetTarget, Snapshot, Stay
from autoballoon.core.pool import Account
from autoballoon.core.track import Health, Track
from autoballoon.core.units import size_text
from autoballoon.views.agents import AgentStatus, agents_line
from autoballoon.views.columns import aligned
from autoballoon.views.paint import Paint, cut, plain
from autoballoon.views.sentences import sentence


class Tick(msgspec.Struct, frozen=True):
    """How the last tick went."""

    number: int
    why: str
    """What caused it: "interval", or what made it early."""
    late_s: float
    """How long after its time it began."""
    took_s: float
    at_s: float = 0.0
    """The daemon's monotonic clock when it was decided."""


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
    promised: int = 0
    """Kept for guests about to start."""


class Trouble(msgspec.Struct, frozen=True):
    """What keeps a guest from being balanced."""

    where: str
    says: str
    kind: str | None = None
    """"containment": the guest cannot be contained; None: nothing that anybody has to know but from the sentence."""


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
    agents: Mapping[str, AgentStatus] = {}
    """The agents in guests, by the guest's name."""


class Told(msgspec.Struct, frozen=True):
    """One decision as it stands in the status. `from` and `to` are bytes; null where nothing has a size."""

    guest: str
    kind: str
    before: int | None = msgspec.field(name="from")
    size: int | None = msgspec.field(name="to")
    reason: str
    numbers: Mapping[str, int | float]
    says: str
    health: str | None = None
    """May it be moved? See core.track.Health."""
    target: int | None = None
    """Bytes that it was last asked to have; its size, when it was never asked."""
    adopted: int | None = None
    """A size that somebody else set: its ceiling until `unhold`."""


class Status(msgspec.Struct, frozen=True):
    """What `status --json` prints and every `watch` line carries."""

    daemon: DaemonStatus
    snapshot: Snapshot
    decisions: tuple[Told, ...]


def books(account: Account) -> Books:
    """The account as it is shown."""
    return Books(**{field: getattr(account, field) for field in Books.__struct_fields__})


def tell(decisions: Iterable[Decision], tracks: Mapping[str, Track] | None = None) -> tuple[Told, ...]:
    """The decisions as they are shown, with what is known of each guest."""
    known = tracks or {}
    return tuple(_tell(decision, known.get(decision.key)) for decision in decisions)


def _tell(decision: Decision, track: Track | None) -> Told:
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
        health=None if track is None else track.health.value,
        target=None if track is None else track.target,
        adopted=None if track is None else track.adopted,
    )


def encode(status: Status) -> bytes:
    """The status as JSON, one line."""
    return msgspec.json.encode(status)


def decode(raw: bytes | msgspec.Raw) -> Status:
    """The status in `raw`, unknown fields ignored; msgspec.DecodeError when it is none."""
    return msgspec.json.decode(raw, type=Status)


def table(status: Status, paint: Paint = plain, width: int | None = None) -> str:
    """The status for people: a line for the daemon, one for the host, one per guest, and what is wrong.

    Guests' lines are cut at `width` signs.
    """
    daemon, account = status.daemon, status.daemon.account
    lines = [paint("DRY RUN: nothing is moved", "alarm")] if daemon.dry_run else []
    lines.append(
        f"autoballoon {daemon.version}: policy {daemon.policy}, up {daemon.up_s:.0f} s, "
        f"tick {daemon.tick.number} took {daemon.tick.took_s * 1000:.0f} ms"
    )
    lines.append(paint(host_line(account), "good" if account.guarantee and not account.short else "warn"))
    if not status.snapshot.guests:
        lines.append("no guests")
    else:
        told = {one.guest: one for one in status.decisions}
        guests = sorted(status.snapshot.guests, key=lambda one: one.name)
        cells = [row(guest, told.get(guest.name)) for guest in guests]
        head, *rest = (cut(line, width) for line in aligned([list(TITLES), *cells]))
        lines += ["", paint(head, "bold")]
        lines += (
            paint(line, mood) if (mood := _mood(told.get(guest.name))) else line
            for guest, line in zip(guests, rest, strict=True)
        )
    if daemon.agents:
        lines += ["", agents_line(daemon.agents)]
    if daemon.problems:
        lines += ["", *(paint(f"{trouble.where}: {trouble.says}", "bad") for trouble in daemon.problems)]
    return "\n".join(lines) + "\n"


TITLES = (
    *("GUEST", "SIZE", "USED", "CACHE", "BALLOON", "HOST HOLDS", "FLOOR", "CEILING", "SHARES", "HEALTH"),
    *("KEPT", "LAST DECISION"),
)


def row(guest: Guest, told: Told | None) -> list[str]:
    """A guest's cells under TITLES; `told` is its last decision."""
    used = None if guest.available is None else max(0, guest.actual - guest.available)
    sizes = (guest.actual, used, guest.caches, max(0, guest.max - guest.actual), guest.resident)
    return [
        guest.name,
        *(size_text(size) for size in sizes),
        size_text(guest.floor),
        size_text(guest.top),
        str(guest.shares),
        (told.health if told is not None else None) or "?",
        kept(guest, told),
        "" if told is None else told.says.removeprefix(f"{guest.name}: "),
    ]


def kept(guest: Guest, told: Told | None) -> str:
    """What somebody asked for: that it is held, or a size set by hand; "-" when nobody did."""
    words = ["held"] if guest.held else []
    if told is not None and told.adopted is not None:
        words.append(f"{size_text(told.adopted)} by hand")
    return ", ".join(words) or "-"


_LACKS = {Reason.WAIT_ROOM.value, Reason.TAKE_NEED.value, Reason.OVERLOAD.value, Reason.HELD_BACK.value}


def _mood(told: Told | None) -> str | None:
    """How a guest's line is painted, if it is."""
    if told is None or told.reason in _LACKS:
        return "bad"
    if told.health not in (None, Health.OK.value, Health.UNMANAGED.value):
        return "warn"
    return None


def host_line(account: Books) -> str:
    """The host's books in one line."""
    to_come = f", guests to come {size_text(account.promised)}" if account.promised else ""
    return (
        f"host: {size_text(account.capacity)}, {size_text(account.available)} available, "
        f"reserve {size_text(account.reserve)}, other {size_text(account.other)}; guests are promised "
        f"{size_text(account.charges)} of a pool of {size_text(account.pool)}{to_come}; {guarantee(account)}"
    )


def guarantee(account: Books) -> str:
    """Whether guests that keep to their targets cannot make this host swap, and who keeps it from being so."""
    if account.guarantee:
        return "guarantee: yes"
    return "guarantee: not yet" + (f" ({', '.join(account.unsure)})" if account.unsure else "")
