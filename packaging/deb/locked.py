"""Print the part of requirements.lock that autoballoon needs to run with these extras: locked.py LOCK EXTRA...

What we need is read from pyproject.toml, and what that needs from the virtual environment that this runs in, which was
made from the same lock.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

_NEED = re.compile(r"([A-Za-z0-9._-]+)(?:\[([^]]*)\])?[^;]*(?:;(.*))?")
_OTHERS = re.compile(
    r"""(?:sys_platform|platform_system|os_name) *== *["'](?!linux|Linux|posix)|python_version *<"""
)
"""Markers of what Linux with Python 3.11 does not need."""


def plain(name: str) -> str:
    """The name as the lock writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def add(needs: Iterable[str], extras: frozenset[str], found: set[str]) -> None:
    """Add what these requirements name, for who was asked for with `extras`, and what that needs."""
    for need in needs:
        matched = _NEED.match(need)
        assert matched is not None, need
        name, wanted, marker = matched[1], matched[2] or "", matched[3] or ""
        extra = re.search(r"""extra *== *["']([\w.-]+)""", marker)
        if (extra is not None and extra[1] not in extras) or _OTHERS.search(marker):
            continue
        if plain(name) not in found:
            found.add(plain(name))
            add(requires(name) or (), frozenset(re.findall(r"[\w.-]+", wanted)), found)


def main() -> None:
    """See above."""
    lock, *extras = sys.argv[1:]
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    found: set[str] = set()
    add(project["dependencies"], frozenset(), found)
    for extra in extras:
        add(project["optional-dependencies"][extra], frozenset(), found)
    blocks = re.findall(r"^((\S+)==.*\n(?:    --hash.*\n?)+)", Path(lock).read_text(), re.MULTILINE)
    pins = {name: block for block, name in blocks}
    missing = sorted(found - pins.keys())
    if missing:
        sys.exit(f"locked.py: {lock} does not pin {', '.join(missing)}; run make lock")
    print("".join(pins[name] for name in sorted(found)), end="")


if __name__ == "__main__":
    main()
