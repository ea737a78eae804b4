"""The libvirt module, imported when it is first needed, and the thread in which libvirt's events arrive."""

import importlib
import logging
import os
import threading
import time
from typing import Any

from autoballoon.core.errors import CouldNot

log = logging.getLogger(__name__)

RETRY_S = 1.0
"""Between a failure of libvirt's event loop and its next round."""
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
            " install it (Debian: apt-get install python3-libvirt; in a checkout tools/setup deb after that),"
            " or remove the key"
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
        try:
            threading.Thread(target=_run, args=(api,), name="libvirt events", daemon=True).start()
        except RuntimeError as error:
            raise CouldNot(
                f"no thread could be started for libvirt's events ({error});"
                " raise TasksMax of the service or `ulimit -u`"
            ) from None
        _ready.add(id(api))


def _run(api: Any) -> None:
    while True:
        try:
            api.virEventRunDefaultImpl()
        except Exception:
            # Without this thread no event would ever come again; what is missed meanwhile is read within half a minute.
            log.debug("libvirt's event loop failed; it goes on", exc_info=True)
            time.sleep(RETRY_S)


def _hush(_context: object, _error: object) -> None:
    """Errors come as exceptions too; libvirt would print them as well."""
