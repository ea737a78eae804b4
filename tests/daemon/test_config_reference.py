"""The reference page and the code agree about every key of the configuration, and its default."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoballoon.daemon import bounds, config

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/config.md").read_text()
TABLES: dict[str, Any] = {
    "host": config._Host,
    "loop": config._Loop,
    "connect": config._Connect,
    "defaults": bounds.BoundsTable,
    "control": config._Control,
    "metrics": config._Metrics,
    "policy": config._Policy,
}
ROW = re.compile(r"^\| (`[^|]*`) \| ([^|]*) \| ([^|]*) \| (.+) \|$", re.MULTILINE)


def section(name: str) -> str:
    """The part of the page under the heading of a table."""
    (found,) = re.findall(rf"^## \[{name}\].*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def rows(name: str) -> dict[str, tuple[str, str, str]]:
    """Unit, default and reason by key; one row may be of several keys."""
    found = {}
    for keys, *cells in ROW.findall(section(name)):
        for key in re.findall(r"`(\w+)`", keys):
            found[key] = (cells[0], cells[1], cells[2])
    return found


def default(name: str, key: str) -> Any:
    if name == "defaults":
        value = getattr(bounds.Bounds(), key)
        return value if isinstance(value, bool | int) else str(value)
    return msgspec.to_builtins(TABLES[name]())[key]


def test_every_table_has_a_section() -> None:
    headings = set(re.findall(r"^## \[(\w+)\]", PAGE, re.MULTILINE))
    assert headings == TABLES.keys()
    assert '## [defaults] and [guests."GLOB"]' in PAGE


@pytest.mark.parametrize("name", TABLES)
def test_every_key_is_there_with_unit_default_and_reason(name: str) -> None:
    documented = rows(name)
    assert documented.keys() == set(TABLES[name].__struct_fields__)
    for key, (unit, told, reason) in documented.items():
        assert unit.strip()
        assert reason.strip()
        assert told.strip("` ") == json.dumps(default(name, key)) or "Not in this version" in reason, key


def test_the_packages_configuration_is_a_dry_run_with_the_defaults() -> None:
    text = (ROOT / "packaging/autoballoon.toml").read_text()
    made = config.parse(text)
    assert made.dry_run
    assert made.qmp == ("/run/vms/*.qmp",)
    assert made.reserve == config.Config().reserve
    assert made.bounds("any") == bounds.Bounds()
    # What is commented out can be switched on as it stands.
    examples = re.sub(r"^# (?=\[|\w+ += )", "", text, flags=re.MULTILINE)
    everything = config.parse(examples)
    assert everything.metrics == "127.0.0.1:9177"
    assert not everything.bounds("passthrough-1").manage
    assert str(everything.bounds("db-1").floor) == "60%"
