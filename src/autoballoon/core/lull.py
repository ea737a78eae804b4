"""Lull: how much of the host's room nobody has wanted for a while, so that it may be given to those who hold cache."""

import msgspec

FIRST_S, SPAN_S = 30.0, 120.0
"""Room that has been there for one to two spans is not wanted: given sooner, it is taken back as soon, and each move
costs the guest. The first span is short, and each is twice as long as the one before, up to the second number: what
others took two minutes ago they may take again, be it the host's own backup."""
LEFT_S = 10.0
"""The first span after a guest has gone: one that is restarted from outside finds its memory still there."""


class Lull(msgspec.Struct, frozen=True):
    """The least room beyond the cushion that was seen in this span and in the one before, bytes."""

    since: float
    """When this span began."""
    least: int
    before: int = 0
    """0 in the first span: nothing is known yet. In that after a guest has gone, what nobody wanted until then."""
    span_s: float = FIRST_S
    """How long this span is, where that is no more than SPAN_S."""

    @property
    def idle(self) -> int:
        """Bytes that nobody wanted in both."""
        return max(0, min(self.least, self.before))


def follow(lull: Lull | None, beyond: int, now: float, *, left: bool = False) -> Lull:
    """The lull after `beyond` bytes of room beyond the cushion were seen, and whether a guest `left` them there."""
    if lull is None:
        return Lull(since=now, least=beyond)
    if left and lull.span_s > LEFT_S:
        return Lull(since=now, least=beyond, before=lull.idle, span_s=LEFT_S)
    span_s = min(lull.span_s, SPAN_S)
    if now - lull.since >= span_s:
        return Lull(since=now, least=beyond, before=min(lull.least, beyond), span_s=2 * span_s)
    return msgspec.structs.replace(lull, least=min(lull.least, beyond))
