"""Lull: how much of the host's room nobody has wanted for a while, so that it may be given to those who hold cache."""

import msgspec

SPAN_S = 30.0
"""Room that has been there for one to two such spans is not wanted. Given sooner, it is taken back as soon, and each
move costs the guest."""


class Lull(msgspec.Struct, frozen=True):
    """The least room beyond the cushion that was seen in this span and in the one before, bytes."""

    since: float
    """When this span began."""
    least: int
    before: int = 0
    """0 in the first span: nothing is known yet."""

    @property
    def idle(self) -> int:
        """Bytes that nobody wanted in both."""
        return max(0, min(self.least, self.before))


def follow(lull: Lull | None, beyond: int, now: float) -> Lull:
    """The lull after `beyond` bytes of room beyond the cushion were seen."""
    if lull is None:
        return Lull(since=now, least=beyond)
    if now - lull.since >= SPAN_S:
        return Lull(since=now, least=beyond, before=min(lull.least, beyond))
    return Lull(since=lull.since, least=min(lull.least, beyond), before=lull.before)
