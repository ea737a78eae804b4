"""Copy the pages that the package ships to FOLDER, each in its place: pages.py FOLDER.

A link to what is not shipped (code, tests, decisions) becomes text that says where in the source that is.
"""

import os
import re
import sys
from pathlib import Path

SHIPPED = ("README.md", "ARCHITECTURE.md", "docs/**/*", "guest/agent/autoballoon*")
"""Globs; guest/agent because people copy it into guests."""
_LEFT_OUT = "docs/decisions"
_LINK = re.compile(r"(?<!!)\[([^]]+)\]\(([^)\s]+)\)")


def shown(page: Path, shipped: frozenset[str]) -> str:
    """The page, its links leading to what is shipped."""

    def mended(link: re.Match[str]) -> str:
        words, goal = link.groups()
        path = goal.partition("#")[0]
        place = os.path.normpath(page.parent / path)
        if not path or "://" in goal or place in shipped:
            return link[0]
        return words if words == place else f"{words} ({place} in the source)"

    return _LINK.sub(mended, page.read_text(encoding="utf-8"))


def main() -> None:
    """See above; called in the checkout's root."""
    (folder,) = map(Path, sys.argv[1:])
    found = sorted(path for glob in SHIPPED for path in Path().glob(glob) if path.is_file())
    files = [path for path in found if not path.is_relative_to(_LEFT_OUT)]
    shipped = frozenset(str(path) for path in files)
    for file in files:
        goal = folder / file
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.write_bytes(shown(file, shipped).encode() if file.suffix == ".md" else file.read_bytes())


if __name__ == "__main__":
    main()
