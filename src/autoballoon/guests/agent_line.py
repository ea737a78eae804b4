"""The lines of a guest's own agent, checked and bounded before anyone believes a number of them.

The guest writes them, and may write anything: only a line that an honest agent could have sent becomes a Word.
"""

from typing import Annotated, Literal

import msgspec

from autoballoon.core.model import Guest
from autoballoon.guests.stats import SLACK

LONGEST = 4096
"""Bytes of a line; longer ones are dropped (docs/reference/agent.md)."""
MOST_A_SECOND = 10
"""Lines that are taken in a second; more are dropped."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e10)]


class Word(msgspec.Struct, frozen=True):
    """One line that was taken: bytes, seconds, and counters since the guest's boot; None is unknown."""

    v: Literal[1]
    seq: Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]
    why: Literal["tick", "pressure"]
    total: _Count | None = None
    available: _Count | None = None
    swap_total: _Count | None = None
    swap_used: _Count | None = None
    refaults: _Count | None = None
    psi_some_s: _Seconds | None = None
    psi_full_s: _Seconds | None = None
    alloc_stalls: _Count | None = None
    oom_kills: _Count | None = None

    def suits(self, ram: int) -> bool:
        """Whether a guest of `ram` bytes, as QEMU says, can have sent it."""
        total = ram + SLACK if self.total is None else self.total
        return total <= ram + SLACK and (self.available or 0) <= total

    def waits_more_than(self, before: "Word | None") -> bool:
        """Whether something in the guest has waited for memory since the line before."""
        was = None if before is None else before.psi_some_s
        return self.psi_some_s is not None and was is not None and self.psi_some_s > was


_decoder = msgspec.json.Decoder(Word)


def read(line: bytes) -> Word | None:
    """The word in a line; None when it is none."""
    try:
        word = _decoder.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return word if is_whole(word) else None


def is_whole(word: Word) -> bool:
    """Whether its fields can be true beside each other."""
    return word.swap_total is None or word.swap_used is None or word.swap_used <= word.swap_total


class Lines:
    """A stream of bytes cut into lines, with no more kept than one line."""

    def __init__(self) -> None:
        self._begun = b""
        self._is_long = False
        self.dropped = 0
        """Lines that were longer than LONGEST."""

    def feed(self, received: bytes) -> list[bytes]:
        """The lines that end in what was received."""
        whole = (self._begun + received).split(b"\n")
        last = whole.pop()
        lines = [line for line in whole[self._is_long :] if len(line) <= LONGEST]
        self.dropped += len(whole) - len(lines)
        self._is_long = (self._is_long and not whole) or len(last) > LONGEST
        self._begun = b"" if self._is_long else last
        return lines


class Allowance:
    """How many lines, or other things, may be taken: `most` a second, over any second no more than twice that."""

    def __init__(self, now: float, most: int = MOST_A_SECOND) -> None:
        self._most = self._left = float(most)
        self._at = now

    def take(self, now: float) -> bool:
        """Take one, where one is left."""
        self._left = min(self._most, self._left + (now - self._at) * self._most)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


_SPREAD = ("refaults", "psi_some_s", "psi_full_s", "alloc_stalls")


class Heard:
    """What one agent has said: its last words, made into the fields of the schema."""

    def __init__(self) -> None:
        self.word: Word | None = None
        self.at = 0.0
        """When it came."""
        self._before: Word | None = None
        self._spread_s = 0.0

    def take(self, word: Word, now: float) -> bool:
        """Take it in; False when it comes out of its turn. An agent that starts anew counts from 1 again."""
        last = self.word
        if last is not None and word.seq <= last.seq and word.seq != 1:
            return False
        self._before = None if word.seq == 1 else last
        # What a guest waited for since its last line is news at once when it says that it runs short.
        self._spread_s = 0.0 if last is None or word.why == "pressure" else now - self.at
        self.word, self.at = word, now
        return True

    def fill(self, guest: Guest, now: float) -> Guest:
        """The guest with what its agent says. Its total and available are those of the balloon's statistics all the
        same (docs/decisions/agent-readings.md).

        Counters rise evenly over the time to the next line: the engine divides their rise by the time between two
        readings of the balloon's statistics, which come more often than lines where a guest is near its edge.
        """
        word = self.word
        assert word is not None
        told = {name: self._spread(name, now) for name in _SPREAD}
        if word.alloc_stalls is None:
            told["alloc_stalls"] = guest.alloc_stalls  # the balloon's statistics may tell it
        return msgspec.structs.replace(
            guest,
            swap_total=word.swap_total,
            swap_used=word.swap_used,
            oom_kills=guest.oom_kills if word.oom_kills is None else word.oom_kills,
            **told,
        )

    def _spread(self, name: str, now: float) -> int | float | None:
        last: int | float | None = getattr(self.word, name)
        first: int | float | None = None if self._before is None else getattr(self._before, name)
        if last is None or first is None or last <= first or now - self.at >= self._spread_s:
            return last
        value = first + (last - first) * (now - self.at) / self._spread_s
        return round(value) if isinstance(last, int) else round(value, 6)
