"""What was decided lately, and what was asked for: bounded, however many guests there are and whatever they do."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from autoballoon.core.model import Decision, SetTarget, Stay
from autoballoon.views.explain import ORDER, Entry, Explained

MOST_EACH = 100
"""Moves remembered of one guest, and as many spells of staying as it is; fewer where there are many guests ..."""
LEAST_EACH = 8
MOST = 20_000
"""... so that all together are no more than this: 0.65 KiB each (measured), 13 MiB."""
MOST_GONE = 100
"""Guests that are no more, of whom is remembered what was decided."""
MOST_ORDERS = 200
MOST_TOLD = 1000
"""Entries of one answer: the newest."""


class _Spell:
    """One move, or a time in which a guest stayed for one reason."""

    __slots__ = ("began", "decision", "ended", "ticks")

    def __init__(self, decision: Decision, at: float) -> None:
        self.decision = decision
        self.began = self.ended = at
        self.ticks = 1


class _Past:
    """What is remembered of one guest."""

    __slots__ = ("last", "moves", "seen_at", "stays")

    def __init__(self) -> None:
        self.moves: deque[_Spell] = deque()
        self.stays: deque[_Spell] = deque()
        self.last: _Spell | None = None
        self.seen_at = 0.0


class History:
    """Remembers decisions; times are the loop's, and told as the wall clock has them now."""

    def __init__(self, now: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self._now = now
        self._wall = wall
        self._pasts: dict[str, _Past] = {}
        self._orders: deque[tuple[float, str, str, str]] = deque(maxlen=MOST_ORDERS)

    def add(self, decisions: Sequence[Decision], at: float) -> None:
        """A tick's decisions. Equal ones that follow each other are one entry, with the newest numbers."""
        most = max(LEAST_EACH, min(MOST_EACH, MOST // (2 * max(1, len(decisions)))))
        for decision in decisions:
            past = self._pasts.get(decision.key)
            if past is None:
                past = self._pasts[decision.key] = _Past()
            past.seen_at = at
            last, stays = past.last, isinstance(decision, Stay)
            if last is not None and _goes_on(last.decision, decision):
                last.decision, last.ended = decision, at
                last.ticks += 1
                continue
            past.last = _Spell(decision, at)
            kept = past.stays if stays else past.moves
            kept.append(past.last)
            while len(kept) > most:
                kept.popleft()
        if len(self._pasts) > len(decisions) + MOST_GONE:
            self._forget(len(decisions) + MOST_GONE)

    def _forget(self, most: int) -> None:
        """Those that have not been seen for longest."""
        oldest = sorted(self._pasts, key=lambda key: self._pasts[key].seen_at)
        for key in islice(oldest, len(self._pasts) - most):
            del self._pasts[key]

    def order(self, guest: str, says: str, kind: str = ORDER) -> None:
        """Somebody asked for something, or something became of it; `guest`: a name, or empty when it concerns all."""
        self._orders.append((self._now(), guest, says, kind))

    def tell(self, guest: str | None, since_s: float | None) -> Explained | None:
        """What happened to this guest (its name or key) or to all, oldest first; None when it was never seen."""
        now = self._now()
        since = -1.0 if since_s is None else now - since_s
        chosen = [past for key, past in self._pasts.items() if guest is None or _is(guest, key, past)]
        if guest is not None and not chosen:
            return None
        names = {past.last.decision.guest for past in chosen if past.last is not None}
        spells = [spell for past in chosen for spell in (*past.moves, *past.stays) if spell.ended >= since]
        spells.sort(key=lambda spell: (spell.began, spell.decision.guest))
        ahead_s = self._wall() - now
        entries = [
            Entry.of_decision(one.decision, one.began + ahead_s, one.ended + ahead_s, one.ticks)
            for one in spells[-MOST_TOLD:]
        ]
        entries += (
            Entry.of_order(name, says, at + ahead_s, kind)
            for at, name, says, kind in self._orders
            if at >= since and (guest is None or not name or name in names)
        )
        entries.sort(key=lambda entry: entry.from_s)
        return Explained(tuple(entries), left_out=max(0, len(spells) - MOST_TOLD), now_s=now + ahead_s)

    def __len__(self) -> int:
        """Entries that are remembered."""
        return len(self._orders) + sum(_lengths(self._pasts.values()))


def _goes_on(last: Decision, decision: Decision) -> bool:
    """Whether this is the last decision again. A move is when it begins where the last one began: in a dry run."""
    if last.reason is not decision.reason:
        return False
    if isinstance(decision, SetTarget):
        return isinstance(last, SetTarget) and last.before == decision.before
    return isinstance(decision, Stay) and isinstance(last, Stay)


def _lengths(pasts: Iterable[_Past]) -> Iterable[int]:
    return (len(past.moves) + len(past.stays) for past in pasts)


def _is(guest: str, key: str, past: _Past) -> bool:
    return guest == key or (past.last is not None and past.last.decision.guest == guest)
