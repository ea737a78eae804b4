"""Tools of the system that end in their own ways."""

import pytest

from autoballoon.lab.commands import run


def test_a_tool_that_ctrl_c_has_ended_ends_us_too() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", "kill -INT $$"])
