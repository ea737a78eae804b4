"""What holds of every verb's words."""

from collections.abc import Iterator

import click
import pytest

from autoballoon.cli import main


def commands(group: click.Group, said: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every verb, those of groups too, by its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{said}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{said}{name} ")


VERBS = dict(commands(main))


@pytest.mark.parametrize("verb", VERBS)
def test_who_may_not_read_a_file_is_told_so_by_the_verb(verb: str) -> None:
    """click's own words name no mend, and its exit code says that the input was wrong."""
    paths = [param.type for param in VERBS[verb].params if isinstance(param.type, click.Path)]
    assert not [path for path in paths if path.readable or path.writable or path.exists]
