"""Names of guests, fit to be shown."""

NAME_LENGTH = 64


def printable(name: str) -> str:
    """`name` without what would disturb a terminal or a log, and not longer than 64 characters."""
    return "".join(c if c.isprintable() else "?" for c in name)[:NAME_LENGTH]
