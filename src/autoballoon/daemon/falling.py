"""Whether free memory falls so fast that the next tick would come too late."""

from collections import deque

LOOK_EVERY_S = 0.1
"""One small file is read this often between ticks; it costs microseconds."""
_SPAN_S = 0.35
"""The rate of fall is taken over this long: three looks, so that one burst of frees and takes does not fool it."""


class FreeWatch:
    """Looks at the host's free memory between ticks. Bytes, and seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._at_tick: int | None = None

    def ticked(self, free: int) -> None:
        """A tick has just seen (and answered) this much free memory."""
        self._at_tick = free

    def is_urgent(self, now: float, free: int, reserve: int, next_tick: float) -> bool:
        """At the present rate `free` will be below `reserve` before `next_tick`.

        Where it was so at the last tick already, only a further fall by an eighth of it counts: else every look would
        cause a tick as long as the host is short.
        """
        self._seen.append((now, free))
        while now - self._seen[0][0] > _SPAN_S:
            self._seen.popleft()
        then, had = self._seen[0]
        if now <= then or free >= had or self._at_tick is None:
            return False
        if self._at_tick < reserve and self._at_tick - free < reserve // 8:
            return False
        rate = (had - free) / (now - then)
        return free - rate * max(0.0, next_tick - now) < reserve
