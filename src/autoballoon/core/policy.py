"""What the engine and a policy tell each other."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from autoballoon.core.model import Guest, Reason, Snapshot
from autoballoon.core.pool import Account
from autoballoon.core.track import Track

ASK_AHEAD_S = 0.2
"""A guest is asked so long before it can be at its edge: a round of asking."""


class Watch(msgspec.Struct, frozen=True):
    """How a policy wants guests watched between its looks. As made: only where its Wishes say from where on."""

    ahead_s: float = 0.0
    """A guest that grows is asked, and has its tick, so long before it can be where the Wishes say."""
    wary: bool = False
    """Anybody may begin to grow at any time: one that stands still is asked before it could be there if it had grown
    unseen, and looked at less often where it has much to spare; and a host without room calls for a tick."""


class Sight(msgspec.Struct, frozen=True):
    """Everything a policy may look at."""

    snapshot: Snapshot
    account: Account
    tracks: Mapping[str, Track]
    movable: tuple[Guest, ...]
    """The guests whose health allows a move; a wish for any other is ignored."""
    overload: str = "host-swap"


class Wish(msgspec.Struct, frozen=True, gc=False):
    """The size a policy would give a guest, and why."""

    size: int
    reason: Reason
    """Why it would lie below what the guest has, or above."""
    need: int = 0
    """The size below which it would have to swap, or starve; of one that is to use its own swap, what is left of it."""
    urgent: int = 0
    """The size up to which it may be granted memory out of the cushion: need and headroom."""
    used: int = 0
    """The size up to which memory is in use: need, headroom and warm cache. Others give up what is idle for it."""
    numbers: dict[str, int | float] = {}
    least: int = 0
    """Need and so much more that its next reading still tells what it needs: what it keeps in an overload."""
    at_once: bool = False
    """A shrink to it is not paced."""


class Wishes(msgspec.Struct, frozen=True):
    """What a policy wants of one tick."""

    memory: Any
    """The policy's own memory, handed back to it at the next tick."""
    wishes: Mapping[str, Wish]
    cushion: int = 0
    """Bytes of the pool to leave with the host, for grants that cannot wait."""
    over: int = 0
    """Overload: bytes by which needs, and what is refused to those who need it, exceed the pool."""
    excess: int = 0
    """Overload: bytes by which charges may exceed the pool: what is left to the host's swap."""
    edges: Mapping[str, int] = {}
    """Available memory (bytes) below which a guest is near its edge, by key."""
    asked_from: Mapping[str, int] = {}
    """Available memory (bytes) from which on a guest is asked, by key; empty: from its edge on."""
    peaks: Mapping[str, float] = {}
    """How fast a guest may begin to grow, bytes a second, by key."""


class Policy(Protocol):
    """Says what it would wish; never moves anything. Pure: same sight and memory, same wishes."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    @property
    def every_s(self) -> float:
        """Seconds between two looks; 0 means every tick."""

    @property
    def raw(self) -> bool:
        """A published rule of others: no pace of ours, and only I1 and I3 of the guard."""

    @property
    def watch(self) -> Watch:
        """How guests are watched between two looks."""

    def start(self) -> Any:
        """Empty memory."""

    def wish(self, memory: Any, sight: Sight, now: float) -> Wishes:
        """The sizes it would give the movable guests."""
