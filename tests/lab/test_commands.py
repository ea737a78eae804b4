"""Tools of the system that end in their own ways."""

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.lab.commands import NoRoom, run


def test_a_tool_that_ctrl_c_has_ended_ends_us_too() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", "kill -INT $$"])


def test_a_tool_that_is_to_finish_is_not_reached_by_ctrl_c() -> None:
    pid, group = run(["sh", "-c", "echo $$; cut -d' ' -f5 /proc/$$/stat"], apart=True).split()
    assert pid == group
    with pytest.raises(CouldNot, match="failed"):
        run(["sh", "-c", "kill -INT $$"], apart=True)


def test_what_a_tool_said_last_is_why_it_failed() -> None:
    with pytest.raises(CouldNot, match=r"failed: no$"):
        run(["sh", "-c", "echo so far; echo no >&2; exit 1"])


def test_a_full_disk_is_found_before_what_a_tool_said_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    with pytest.raises(NoRoom, match=r"failed: C\.UTF-8: No space left on device$"):
        run(["sh", "-c", 'echo "$LC_ALL: No space left on device" >&2; echo giving up >&2; exit 2'])
