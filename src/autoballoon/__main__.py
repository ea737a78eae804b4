"""`python -m autoballoon` is the command `autoballoon`."""

from autoballoon.cli import main

main(prog_name="autoballoon")
