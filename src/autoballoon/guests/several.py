"""Several hypervisors as one; a guest belongs to the first that knows its key."""

import asyncio
from collections.abc import Collection, Sequence

from autoballoon.core.model import Guest
from autoballoon.guests.hypervisor import Hypervisor, Problem, Wake


class Several(Hypervisor):
    """`members` as one hypervisor; `start` raises what theirs raise."""

    def __init__(self, members: Sequence[Hypervisor]) -> None:
        self._members = tuple(members)

    async def start(self, wake: Wake, *, wait: bool = True) -> None:
        await asyncio.gather(*(member.start(wake, wait=wait) for member in self._members))

    async def read(self) -> list[Guest]:
        return [guest for member in self._members for guest in await member.read()]

    async def read_one(self, key: str) -> Guest | None:
        found = [await member.read_one(key) for member in self._members]
        return next((guest for guest in found if guest is not None), None)

    async def ask(self, keys: frozenset[str]) -> None:
        await asyncio.gather(*(member.ask(keys) for member in self._members))

    def relax(self, keys: Collection[str]) -> None:
        for member in self._members:
            member.relax(keys)

    async def set_target(self, key: str, size: int) -> bool:
        return any([await member.set_target(key, size) for member in self._members])

    async def suspend(self, key: str) -> bool | None:
        return _told([await member.suspend(key) for member in self._members])

    async def resume(self, key: str) -> bool | None:
        return _told([await member.resume(key) for member in self._members])

    def channels(self) -> dict[str, str]:
        return {key: path for member in self._members for key, path in member.channels().items()}

    def problems(self) -> list[Problem]:
        return [problem for member in self._members for problem in member.problems()]

    async def close(self) -> None:
        await asyncio.gather(*(member.close() for member in self._members))


def _told(answers: Sequence[bool | None]) -> bool | None:
    """The answer of the one that knows the guest: the others say None."""
    return next((answer for answer in answers if answer is not None), None)
