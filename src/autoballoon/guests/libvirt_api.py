"""The libvirt module, imported when it is first needed, and the thread in which libvirt's events arrive."""

import importlib
import os
import threading
from typing import Any

from autoballoon.core.errors import CouldNot

_lock = threading.Lock()
_ready: set[int] = set()
"""Modules whose events are being run, by id: libvirt takes one event loop in a process's life."""


def load_libvirt() -> Any:
    """The module `libvirt`. CouldNot, with the mend, where it cannot be imported."""
    try:
        return importlib.import_module("libvirt")
    except ImportError as error:
        raise CouldNot(
            f"[connect] libvirt needs libvirt's Python module, which cannot be imported ({error});"
            " install it (Debian: python3-libvirt; pip: autoballoon[libvirt]) or remove the key"
        ) from None


def run_events(api: Any) -> None:
    """Have libvirt's own event loop run in a thread, from the first call to the end of the process.

    Before any connection is opened, or it has no events. Not libvirtaio: see docs/decisions/libvirt.md.
    """
    with _lock:
        if id(api) in _ready:
            return
        # A connection must not start a session daemon: whom we find is whom we balance.
        os.environ.setdefault("LIBVIRT_AUTOSTART", "0")
        api.registerErrorHandler(_hush, None)
        api.virEventRegisterDefaultImpl()
        threading.Thread(target=_run, args=(api,), name="libvirt events", daemon=True).start()
        _ready.add(id(api))


def _run(api: Any) -> None:
    while True:
        api.virEventRunDefaultImpl()


def _hush(_context: object, _error: object) -> None:
    """Errors come as exceptions too; libvirt would print them as well."""
