"""The Debian package's copyright file names what the package holds: each library of others, and none besides."""

import re
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = "/usr/lib/autoballoon/"


def test_each_library_in_the_package_has_its_stanza() -> None:
    extras = re.search(r"^extras=(\w+)$", (ROOT / "tools/deb").read_text(), re.MULTILINE)
    assert extras is not None
    locked = subprocess.run(
        [sys.executable, "packaging/deb/locked.py", "requirements.lock", extras[1], "tui"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    names = re.findall(r"^(\S+)==", locked, re.MULTILINE)
    tops = {path.parts[0] for name in names for path in files(name) or ()}
    shipped = {top for top in tops if top not in ("..", "__pycache__") and not top.endswith(".dist-info")}
    told = (ROOT / "packaging/deb/copyright").read_text()
    stanzas = re.findall(rf"^Files: {LIBRARIES}(\S+?)(?:/\*)?$", told, re.MULTILINE)
    assert sorted(stanzas) == sorted(shipped)
    licences = {
        word for line in re.findall(r"^License: (.+)$", told, re.MULTILINE) for word in line.split(" and ")
    }
    assert licences == set(re.findall(r"^License: (\S+)\n ", told, re.MULTILINE)), (
        "each has its text, or where it is"
    )
