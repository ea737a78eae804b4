"""The one exception tree.

    AutoballoonError
    ├── BadInput      exit code 2: what was given cannot be used
    └── CouldNot      exit code 3: the input is fine, the machine said no

Each error is one sentence that names the place and the mend; the command line prints it and nothing else.
"""


class AutoballoonError(Exception):
    """A failure that is told in one sentence; `exit_code` is the process's."""

    exit_code = 3


def in_a_sentence(error: BaseException) -> str:
    """Any error as it is told to people."""
    if isinstance(error, AutoballoonError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "it took too long"
    return f"{type(error).__name__}: {error}"


class BadInput(AutoballoonError):
    """Something given by the user (a file, a flag, a value) cannot be used."""

    exit_code = 2


class CouldNot(AutoballoonError):
    """The request is sound, but this machine or this moment does not allow it."""

    exit_code = 3
