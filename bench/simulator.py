"""How long `autoballoon sim run all` takes, as a user would start it."""

import resource
import subprocess
import sys
import time

import click

from autoballoon.cli import main as verbs


def main() -> None:
    if "sim" not in verbs.list_commands(click.Context(verbs)):
        print("sim run all: not timed, this version has no simulator")
        return
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "autoballoon", "sim", "run", "all"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    took_s = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"sim run all: {took_s:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of processor time, "
        f"{used.ru_maxrss / 1024:.0f} MiB at most (exit code {done.returncode})"
    )


if __name__ == "__main__":
    main()
