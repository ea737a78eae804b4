"""The command `autoballoon`: its verbs, and what becomes of their errors.

A verb's module is imported when the verb is used, so that asking the daemon does not load the laboratory.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable
from typing import Any

import click

from autoballoon import __version__
from autoballoon.core.errors import AutoballoonError, CouldNot

_VERBS = {
    "run": "autoballoon.cli.serve",
    "check": "autoballoon.cli.serve",
    "status": "autoballoon.cli.ask",
    "top": "autoballoon.cli.top",
    "explain": "autoballoon.cli.ask",
    "hold": "autoballoon.cli.orders",
    "unhold": "autoballoon.cli.orders",
    "set": "autoballoon.cli.orders",
    "room": "autoballoon.cli.orders",
    "plan": "autoballoon.cli.offline",
    "record": "autoballoon.cli.keep",
    "replay": "autoballoon.cli.keep",
    "doctor": "autoballoon.cli.doctor",
    "completion": "autoballoon.cli.completion",
    "version": "autoballoon.cli.ask",
    "lab": "autoballoon.cli.lab",
    "sim": "autoballoon.cli.sim",
}
_INTERRUPTED = 130
"""128 + SIGINT, as shells say it."""


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        name = f"{cmd_name}_" if cmd_name == "set" else cmd_name
        verb = getattr(importlib.import_module(_VERBS[cmd_name]), name)
        assert isinstance(verb, click.Command)
        return verb

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """As click's own, but wrong words are told in one sentence too."""
        run: Callable[..., Any] = super().main
        if not standalone_mode:
            return run(*args, standalone_mode=False, **extra)
        try:
            ended = run(*args, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _tell(error.format_message())
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(_INTERRUPTED)
        except OSError as error:  # a pipe that nobody reads any more is click's
            _tell(_refused(error))
            sys.exit(CouldNot.exit_code)
        sys.exit(ended if isinstance(ended, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AutoballoonError as error:
            says, code = str(error), error.exit_code
        except KeyboardInterrupt:
            says, code = "stopped by Ctrl-C", _INTERRUPTED
        _tell(says)
        return ctx.exit(code)


def _tell(says: str) -> None:
    """One sentence on standard error; who cannot be told has the exit code."""
    with contextlib.suppress(OSError):
        click.echo(f"autoballoon: {says}", err=True)


def _refused(error: OSError) -> str:
    """What the machine refused, in a sentence; an error without a file comes from writing the output, mostly."""
    says = error.strerror or str(error)
    where = "make room where its output goes" if error.filename is None else f"look at {error.filename}"
    return f"{says}; {where}"


@click.group(cls=_Verbs)
@click.version_option(__version__, message="autoballoon %(version)s", help="As `version`.")
def main() -> None:
    """Move memory between QEMU/KVM guests with the balloon, so that the host need not swap."""
