"""Colour on a terminal: text in, text with or without it out."""

from collections.abc import Callable

Paint = Callable[[str, str], str]
"""(text, style) -> the text in that style."""

_CODES = {"bold": "1", "good": "32", "warn": "33", "bad": "31", "faint": "2", "alarm": "1;33"}


def plain(text: str, style: str) -> str:
    """The text as it is."""
    return text


def coloured(text: str, style: str) -> str:
    """The text in ECMA-48 colours, which every terminal knows."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if text else text


def cut(line: str, width: int | None) -> str:
    """The line, no longer than `width` signs; None: as long as it is. Not for painted text."""
    return line if width is None or len(line) <= width else line[: max(1, width) - 1] + "…"
