"""Whose agent is behind which socket."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar


class Voice(Protocol):
    """What speaks for a guest."""

    @property
    def path(self) -> str: ...
    @property
    def stem(self) -> str: ...


_Voice = TypeVar("_Voice", bound=Voice)


def joined(voices: Sequence[_Voice], guests: Mapping[str, str]) -> dict[str, _Voice]:
    """The voices by the key of their guest; `guests` are the names of all guests by their keys.

    One belongs to the guest whose QMP socket has the stem of its socket, or whose name that is, where there is one of
    each; of several those belong together of which there is one of each in a folder. No voice speaks for two guests:
    what one reports must not be taken for another (I7).
    """
    found: dict[str, _Voice] = {}
    for parts in (1, 2):  # by the stem, then by the stem and the folder
        speaking: dict[tuple[str, ...], list[_Voice]] = {}
        for voice in voices:
            speaking.setdefault((voice.stem, str(Path(voice.path).parent))[:parts], []).append(voice)
        spoken_for: dict[tuple[str, ...], list[str]] = {}
        for key, name in guests.items():
            stem = Path(key).stem if key.startswith("/") else name
            spoken_for.setdefault((stem, str(Path(key).parent))[:parts], []).append(key)
        for place, keys in spoken_for.items():
            there = speaking.get(place, [])
            if len(keys) == len(there) == 1:
                found[keys[0]] = there[0]
    return found
