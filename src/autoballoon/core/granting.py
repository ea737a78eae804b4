"""Granting: how much memory each guest that grows is given in this step."""

from collections.abc import Sequence
from operator import add, attrgetter

from autoballoon.core.case import Case
from autoballoon.core.share import water_fill


def grants(cases: Sequence[Case], room: int, cushion: int, excess: int, idle: int) -> list[int]:
    """I2: the size granted to each that grows, out of `room`: need first, then headroom.

    Warm cache is granted down to half the cushion: one that grows would drop it meanwhile; the rest only beyond it.

    In a declared overload need is granted beyond the room by the `excess` of needs over the pool, and no more:
    the host swaps as it would without us, rather than one guest starving, and only what cannot be helped.

    `idle`: so much room has been there for a while. Cold cache and surplus are given no more, or it would be taken
    back from idle guests as soon as another grows.
    """
    shares = [case.guest.shares for case in cases]
    sizes = [case.base for case in cases]
    for level, beyond in (("need", excess), ("urgent", 0)):
        given = water_fill(room + beyond, _claims(cases, sizes, level), shares)
        sizes = list(map(add, sizes, given))
        room -= sum(given)
    given = _whole(_claims(cases, sizes, "used"), room - cushion // 2)
    sizes = list(map(add, sizes, given))
    room -= sum(given)
    rests = [case.size - size for case, size in zip(cases, sizes, strict=True)]
    given = _whole(rests, min(room - cushion, idle), [case.would_fill for case in cases])
    return list(map(add, sizes, given))


def _claims(cases: Sequence[Case], sizes: Sequence[int], level: str) -> list[int]:
    """What each lacks of that size of its wish, bytes; nobody is given more than it is to have."""
    wanted = map(attrgetter(level), [case.wish for case in cases])
    return [min(want, case.size) - size for want, case, size in zip(wanted, cases, sizes, strict=True)]


def _whole(claims: Sequence[int], amount: int, first: Sequence[bool] | None = None) -> list[int]:
    """Each claim in turn, those named `first`, then the largest: what is merely nice to have comes in few moves."""
    given = [0] * len(claims)
    wanting = [i for i, claim in enumerate(claims) if claim > 0] if amount > 0 else []
    for i in sorted(wanting, key=lambda i: (first is not None and not first[i], -claims[i])):
        given[i] = min(claims[i], amount)
        amount -= given[i]
    return given
