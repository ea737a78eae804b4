"""What `top` shows: frozen statuses into short cells, lines and sparklines."""

from collections.abc import Sequence

import msgspec

from autoballoon.core.model import Guest
from autoballoon.core.units import GIB, MIB, size_text
from autoballoon.views.status import Status, Told, kept

TITLES = ("GUEST", "SIZE", "USED", "CACHE", "BALLOON", "FLOOR", "CEILING", "HEALTH", "KEPT", "LAST")
_BLOCKS = "▁▂▃▄▅▆▇█"


class Point(msgspec.Struct, frozen=True, gc=False):
    """One guest at one tick, bytes; None is unknown."""

    target: int | None
    actual: int
    need: int | None


def head(status: Status) -> list[str]:
    """The lines above the table: DRY RUN first."""
    daemon, account = status.daemon, status.daemon.account
    lines = ["DRY RUN: nothing is moved"] if daemon.dry_run else []
    free = account.pool - account.charges
    to_come = f", {size_text(account.promised)} for guests to come" if account.promised else ""
    lines.append(
        f"host {size_text(account.capacity)}, {size_text(account.available)} available, "
        f"pool {size_text(account.pool)}, of it {size_text(free)} free{to_come}"
    )
    lines.append(
        f"{len(status.snapshot.guests)} guests, policy {daemon.policy}, tick {daemon.tick.number} "
        f"({daemon.tick.took_s * 1000:.0f} ms), guarantee: {'yes' if account.guarantee else 'not yet'}"
        f"{', SHORT' if account.short else ''}"
    )
    if daemon.problems:
        more = f" (and {len(daemon.problems) - 1} more)" if len(daemon.problems) > 1 else ""
        lines.append(f"{daemon.problems[0].where}: {daemon.problems[0].says}{more}")
    return lines


def cells(guest: Guest, told: Told | None) -> tuple[str, ...]:
    """A guest's cells under TITLES."""
    used = None if guest.available is None else max(0, guest.actual - guest.available)
    sizes = (guest.actual, used, guest.caches, max(0, guest.max - guest.actual), guest.floor, guest.top)
    health = (told.health if told is not None else None) or "?"
    return (
        guest.name[:24],
        *map(short, sizes),
        health,
        kept(guest, told),
        "" if told is None else told.reason,
    )


def short(size: int | None) -> str:
    """A size in few signs: 512M, 12.5G."""
    if size is None:
        return "?"
    return f"{size / MIB:.0f}M" if abs(size) < 10 * GIB else f"{size / GIB:.1f}G"


def point(guest: Guest, told: Told | None) -> Point:
    """What is drawn of this moment."""
    need = None if told is None else told.numbers.get("need")
    if need is None and guest.available is not None:
        need = max(0, guest.actual - guest.available)
    target = guest.actual if told is None or told.target is None else told.target
    return Point(target, guest.actual, None if need is None else round(need))


def sparks(points: Sequence[Point], most: int, width: int) -> list[str]:
    """Three lines, one scale from nothing to `most` (the guest's maximum), the newest at the right."""
    newest = points[-max(1, width - 20) :]
    lines = []
    for name in ("target", "actual", "need"):
        values = [getattr(one, name) for one in newest]
        drawn = "".join(_block(value, most) for value in values)
        lines.append(f"{name:<7}{drawn} {short(values[-1] if values else None)}")
    return lines


def _block(value: int | None, most: int) -> str:
    if value is None or most <= 0:
        return " "
    return _BLOCKS[max(0, min(len(_BLOCKS) - 1, value * len(_BLOCKS) // most))]
