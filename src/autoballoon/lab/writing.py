"""Files that the lab writes where there may be no room for them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from autoballoon.core.errors import CouldNot

OUT = "make room or give another --out"
CACHE = "make room there or point AUTOBALLOON_CACHE at another disk"
RUN = "the lab needs root and room in /run"


@contextlib.contextmanager
def writing(path: Path, mend: str) -> Iterator[None]:
    """Turn a disk that is full or read-only into one CouldNot that ends with the mend."""
    try:
        yield
    except OSError as error:
        raise CouldNot(f"{path} cannot be written ({error.strerror}); {mend}") from error
