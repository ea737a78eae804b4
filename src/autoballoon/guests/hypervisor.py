"""What the daemon needs of a hypervisor: one protocol, kept by every adapter and by the fake.

The same test body runs against each of them (tests/guests/test_hypervisor.py).
"""

from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec

from autoballoon.core.model import Guest


class Problem(msgspec.Struct, frozen=True):
    """Something that keeps a guest from being balanced, in one sentence for the operator."""

    where: str
    """The socket or connection."""
    says: str
    kind: str | None = None
    """What it is about, for whoever must not go by the sentence: core.facts.CONTAINMENT, or nothing."""


class Wake(Protocol):
    """Called from the event loop when something happened that deserves an early tick."""

    def __call__(self, why: str, *, freed: bool = False) -> None:
        """`why` says what happened; `freed`: a guest has given memory up, which matters to who waits for room only."""


def sleep_on(why: str, *, freed: bool = False) -> None:
    """The Wake of somebody who wants no early tick."""


class Hypervisor(Protocol):
    """A source of guests.

    Guests come with everything the hypervisor knows (identity, `max`, `actual`, statistics, `pid`), and with
    the bounds and the host's view left at their defaults: the daemon fills those in. No call raises for a
    guest that is slow, broken or gone; only `start` may raise (BadInput, CouldNot) when nothing can work at all.
    """

    async def start(self, wake: Wake, *, wait: bool = True) -> None:
        """Begin to watch; returns when the guests that are there now have been tried once, or at once where it is not
        to `wait`."""

    async def read(self) -> list[Guest]:
        """Every guest as known now, quickly, without waiting for any slow one (an old reading has a larger age_s)."""

    async def read_one(self, key: str) -> Guest | None:
        """The guest of that key, as `read` shows it."""
        return next((guest for guest in await self.read() if guest.key == key), None)

    async def ask(self, keys: frozenset[str]) -> None:
        """Have fresh statistics taken from these guests at once (bounded wait; silent guests are left out)."""

    def relax(self, keys: Collection[str]) -> None:
        """These guests, and no others, may be looked at less often until this is called again.

        An adapter whose looks cost nothing for each guest goes on as ever.
        """

    async def set_target(self, key: str, size: int) -> bool:
        """Ask the guest to become `size` bytes large; False when it could not be asked."""

    async def suspend(self, key: str) -> bool | None:
        """Stop the guest's processors: True when it ran and is stopped now.

        False when it did not run, so that whoever stopped it was another; None when it could not be asked, or did
        not answer: it may be stopped or not.
        """

    async def resume(self, key: str) -> bool | None:
        """Let a guest run that was stopped by `suspend`: True when it runs now.

        False when it stands still for another reason (it was migrated away, its disk failed): it is left as it is.
        None when it could not be asked, or did not answer.
        """

    def channels(self) -> Mapping[str, str]:
        """Sockets on which guests' agents can be heard, by the guest's key, as far as the hypervisor tells."""
        return {}

    def problems(self) -> list[Problem]:
        """What keeps guests from being seen or balanced, now."""

    async def close(self) -> None:
        """Stop watching, give back what was switched on (statistics polling), let every socket go."""
