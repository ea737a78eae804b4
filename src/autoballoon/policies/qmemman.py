"""qmemman: the memory manager of Qubes OS (qubes-core-admin: qubes/qmemman/algo.py, qubes/qmemman/systemstate.py).

Each guest has a size that it prefers: 1.3 times what it uses. With enough for all, the rest is shared in proportion to
that; else those above it go down to it, and those below get of what is free.

What stands in for what: a guest reports there by itself whenever its use has changed by 30 MB; here the policy looks at
every tick, has guests asked that come near such a change, and a tick when a guest's available memory has fallen by it.
Xen's free memory is `unassigned`. There the host is a guest like the others (dom0), here it is not. Where the original
waits up to half a second for donors before it gives to others, both are asked at once here; what has not come back by
the next look is not free then.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

import msgspec

from autoballoon.core.model import Guest
from autoballoon.core.policy import Sight, Watch, Wishes
from autoballoon.core.track import Track
from autoballoon.core.units import KIB, MIB
from autoballoon.policies.published import rule_wish, unassigned, used_by

CACHE_FACTOR = 1.3
PREFERRED_LEAST = 200 * MIB
KEPT_FREE = 50 * MIB
"""Left with the host (XEN_FREE_MEM_LEFT)."""
ROUNDING = 0.999
"""Targets that share something out are cut by this factor, so that rounding never asks for more than there is."""
DONATION_LEAST = 10 * MIB
"""A guest with less than this to give is taken to be at its preferred size."""
CHANGE_LEAST = 150 * MIB
"""Changes are made when they come to more than this in all ..."""
CHANGE_LEAST_BELOW = 15 * MIB
"""... or to more than this for one guest below its preferred size, or when the host lacks so much."""
ANSWER_S = 0.5
"""How long a donor has to answer: five waits of 0.1 s."""
ANSWER_ENOUGH = KEPT_FREE // 2
"""A donor that has come so near to its target has answered."""
REPORT_STEP = 30_000 * KIB
"""A guest reports when its use has changed by this (meminfo-writer as Qubes starts it)."""


class Dom(msgspec.Struct, frozen=True):
    """One guest as the rule sees it, bytes."""

    key: str
    preferred: int
    size: int
    """What it has or was promised, the larger."""
    target: int
    most: int

    @property
    def is_donor(self) -> bool:
        """Whether it has what it prefers, or can have no more."""
        return self.size > self.preferred or self.size >= self.most


class Memory(msgspec.Struct, frozen=True):
    """Sizes at the last look, and the guests that did not answer a request to give memory back."""

    sizes: Mapping[str, int] = {}
    unmoved: frozenset[str] = frozenset()


class Qmemman:
    """The rule of qmemman."""

    name = "qmemman"
    every_s = 0.1
    """Its shortest wait. In fact: every tick."""
    raw = True
    watch = Watch()

    def start(self) -> Memory:
        """No guest is known to be stuck."""
        return Memory()

    def wish(self, memory: Memory, sight: Sight, now: float) -> Wishes:
        """Sizes for all that take part, when the change is large enough; else no wish."""
        guests = sight.movable
        known = [dom for guest in guests if (dom := _dom(guest, sight.tracks[guest.key])) is not None]
        unmoved = frozenset(dom.key for dom in known if _is_unmoved(dom, memory, sight.tracks[dom.key], now))
        doms = [dom for dom in known if dom.key not in unmoved]
        promised = sum(max(0, track.target - track.actual) for track in sight.tracks.values())
        spare = unassigned(sight) - promised - KEPT_FREE
        sizes = balance(doms, spare)
        edges = {guest.key: guest.available - REPORT_STEP for guest in guests if guest.available is not None}
        return Wishes(
            memory=Memory({guest.key: guest.actual for guest in guests}, unmoved),
            wishes={
                dom.key: rule_wish(sizes[dom.key], preferred=dom.preferred, free=spare)
                for dom in doms
                if dom.key in sizes
            }
            if is_worth_it(doms, sizes, spare)
            else {},
            edges=edges,
            asked_from={key: 3 * edge // 2 for key, edge in edges.items()},
        )


def _dom(guest: Guest, track: Track) -> Dom | None:
    preferred = preferred_by(guest)
    if preferred is None:
        return None
    return Dom(guest.key, preferred, max(guest.actual, track.target), track.target, guest.top)


def preferred_by(guest: Guest) -> int | None:
    """The size that the guest prefers, bytes; None when it has not said what it uses."""
    used = used_by(guest)
    return None if used is None else int(max(min(used * CACHE_FACTOR, guest.top), PREFERRED_LEAST))


def _is_unmoved(dom: Dom, memory: Memory, track: Track, now: float) -> bool:
    """Whether it has been asked for memory and has given nothing: it is left out until it answers or needs some."""
    if dom.size <= dom.target + ANSWER_ENOUGH or dom.size < dom.preferred:
        return False
    late = now - track.set_at >= ANSWER_S
    return dom.key in memory.unmoved or (late and memory.sizes.get(dom.key) == track.actual)


def balance(doms: Sequence[Dom], spare: int) -> dict[str, int]:
    """Target sizes by key, with `spare` bytes of the host to give (or to get back, when negative)."""
    surplus = spare - sum(dom.preferred - dom.size for dom in doms)
    return share_surplus(doms, surplus) if surplus > 0 else share_shortage(doms, spare)


def share_surplus(doms: Sequence[Dom], surplus: int) -> dict[str, int]:
    """Everyone gets what it prefers and its part of the surplus; what some cannot take goes to the others evenly."""
    whole = sum(dom.preferred for dom in doms)
    sizes = {dom.key: int(ROUNDING * (dom.preferred + dom.preferred / whole * surplus)) for dom in doms}
    room = {dom.key: dom.most for dom in doms}
    while over := sum(max(0, sizes[key] - room[key]) for key in sizes):
        sizes = {key: min(size, room[key]) for key, size in sizes.items()}
        takers = [key for key in sizes if sizes[key] < room[key]]
        more = int(ROUNDING * over / len(takers)) if takers else 0
        for key in takers:
            sizes[key] += more
    return sizes


def share_shortage(doms: Sequence[Dom], spare: int) -> dict[str, int]:
    """Those above their preferred size go down to it; the others get of what is free, once there is something.

    What donors give is taken off what is free now, not added to it, as published: it is given out when it has come.
    """
    donors = [dom for dom in doms if dom.is_donor and dom.size - dom.preferred >= DONATION_LEAST]
    sizes = {dom.key: dom.preferred for dom in donors}
    spare -= sum(dom.size - dom.preferred for dom in donors)
    if spare < 0:
        return sizes
    takers = [dom for dom in doms if not dom.is_donor]
    whole = sum(dom.preferred for dom in takers)
    for dom in takers:
        sizes[dom.key] = min(int(ROUNDING * (dom.size + dom.preferred / whole * spare)), dom.most)
    return sizes


def is_worth_it(doms: Sequence[Dom], sizes: Mapping[str, int], spare: int) -> bool:
    """Whether the host lacks memory, a guest below its preferred size gets some, or enough changes in all."""
    if -spare > CHANGE_LEAST_BELOW:
        return True
    changes = {dom: sizes[dom.key] - dom.target for dom in doms if dom.key in sizes}
    if any(0 < dom.target < dom.preferred and more > CHANGE_LEAST_BELOW for dom, more in changes.items()):
        return True
    return sum(map(abs, chain(changes.values(), [spare]))) > CHANGE_LEAST
