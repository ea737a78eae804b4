"""The simulator's page names everything that a scenario may say, and its example is one."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from autoballoon.sim.characters import Character, Group
from autoballoon.sim.checks import Must
from autoballoon.sim.course import Shape
from autoballoon.sim.happenings import Happening
from autoballoon.sim.host import HostSpec
from autoballoon.sim.run import simulate, world_of
from autoballoon.sim.scenario import parse

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/simulator.md").read_text(encoding="utf-8")


def tags(union: Any) -> list[str]:
    return [str(kind.__struct_config__.tag) for kind in get_args(union)]


@pytest.mark.parametrize(
    "word",
    [
        *tags(Character), *tags(Must), *tags(Shape), *tags(Happening),
        *(field for field in HostSpec.__struct_encode_fields__), *(field for field in Group.__struct_encode_fields__),
    ],
)  # fmt: skip
def test_it_is_on_the_page(word: str) -> None:
    assert re.search(rf"[`\"]{re.escape(word)}[`\"]", PAGE), word


def test_the_example_runs_and_what_must_hold_holds() -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    result = simulate("example", "ladder", world_of(parse(example), "ladder", 1))
    assert result.unmet == ()
    assert simulate("example", "static", world_of(parse(example), "static", 1)).unmet
