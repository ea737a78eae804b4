"""What of the decisions goes into the log: large moves and changes of health, and of each guest not too often.

The rest is there at debug level, and all of it in `status` and `watch`.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from autoballoon.core.model import Decision, Guest, SetTarget, Stay
from autoballoon.core.track import Health, Track
from autoballoon.core.units import MIB
from autoballoon.views.sentences import sentence
from autoballoon.views.status import Trouble, tell

log = logging.getLogger("autoballoon")

LARGE = 64 * MIB
"""A move of at least so many bytes is told."""
EVERY_S = 10.0
"""One line for each guest in this time at most."""

_SAYS = {
    Health.OK: "it can be moved",
    Health.BOOTING: "it boots",
    Health.NO_DRIVER: "it has no balloon driver, and counts with all it may take",
    Health.SILENT: "its statistics are old or missing, and it keeps what it holds",
    Health.STOPPED: "its processors are stopped",
    Health.INCOMING: "it is arriving",
    Health.UNMANAGED: "it is left alone",
}


class _Told:
    """Of one guest: what was last told, and when."""

    __slots__ = ("at", "dry_size", "health")

    def __init__(self) -> None:
        self.at = -1e9
        self.health: Health | None = None
        self.dry_size: int | None = None
        """What it would be: a dry run, where nothing moves, decides the same again and again."""

    def is_due(self, now: float) -> bool:
        """Whether a line may be told."""
        return now - self.at >= EVERY_S


class Chronicle:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._troubles: frozenset[Trouble] = frozenset()
        """Those that were told and still are there."""
        self._troubled_at: dict[str, float] = {}
        """When one of each place was last told."""

    def troubles(self, found: Iterable[Trouble], now: float) -> None:
        """Log what keeps guests from being balanced, each once, when it begins; of what comes and goes, what lasts."""
        there = set()
        self._troubled_at = {one: at for one, at in self._troubled_at.items() if now - at < EVERY_S}
        for trouble in found:
            if trouble not in self._troubles:
                if trouble.where in self._troubled_at:
                    continue
                self._troubled_at[trouble.where] = now
                log.warning("%s: %s", trouble.where, trouble.says)
            there.add(trouble)
        self._troubles = frozenset(there)

    def moves(self, decisions: Iterable[Decision], now: float, *, dry_run: bool) -> None:
        """Log what is to be done."""
        prefix = "DRY RUN: " if dry_run else ""
        for decision in decisions:
            if isinstance(decision, Stay):
                continue
            told = self._told.setdefault(decision.key, _Told())
            level = logging.DEBUG
            if told.is_due(now) and _is_large(decision, told.dry_size if dry_run else None):
                level, told.at = logging.INFO, now
                told.dry_size = decision.size if isinstance(decision, SetTarget) else None
            if log.isEnabledFor(level):
                log.log(level, "%s%s", prefix, sentence(decision), extra={"about": _about(decision)})

    def healths(self, guests: Iterable[Guest], tracks: Mapping[str, Track], now: float) -> None:
        """Log how guests are, where that has changed; at first contact only what is wrong."""
        for key in self._told.keys() - tracks.keys():
            del self._told[key]
        for guest in guests:
            told, health = self._told.setdefault(guest.key, _Told()), tracks[guest.key].health
            if health is told.health or not told.is_due(now):
                continue
            if told.health is not None or health is not Health.OK:
                about = {"guest": guest.name, "health": health.value}
                log.info("%s: %s", guest.name, _SAYS[health], extra={"about": about})
                told.at = now
            told.health = health


def _is_large(decision: Decision, dry_size: int | None) -> bool:
    """Whether it is worth a line: who is stopped or runs again always is."""
    if not isinstance(decision, SetTarget):
        return True
    is_news = dry_size is None or abs(decision.size - dry_size) >= LARGE
    return is_news and abs(decision.size - decision.before) >= LARGE


def _about(decision: Decision) -> dict[str, Any]:
    """The decision as it stands in the status, for `--log-format json`."""
    (told,) = tell((decision,))
    about = msgspec.to_builtins(told)
    assert isinstance(about, dict)
    del about["says"]
    return about
