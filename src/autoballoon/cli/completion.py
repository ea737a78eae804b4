"""`completion`: what a shell needs to complete our words."""

import click
from click.shell_completion import get_completion_class

from autoballoon.core.errors import CouldNot


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion for SHELL; to use it now: eval "$(autoballoon completion bash)"."""
    found = get_completion_class(shell)
    root = ctx.find_root()
    if found is None:
        raise CouldNot(f"this version of click knows no completion for {shell}")
    click.echo(found(root.command, {}, "autoballoon", "_AUTOBALLOON_COMPLETE").source())
