"""What outlives the daemon, in one small versioned file: written whole, or not at all."""

import contextlib
import errno
import logging
import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from autoballoon.core.errors import CouldNot
from autoballoon.daemon.config import DEFAULT_SOCKET

log = logging.getLogger(__name__)

VERSION = 1
LONGEST = 16 << 20
"""Bytes; a thousand guests of whom all is kept take about 400 KiB."""
ASIDE = ".unusable"
NAME = "state.json"
SERVICES = Path("/var/lib/autoballoon")
"""$STATE_DIRECTORY of the service (packaging/autoballoon.service)."""


class Stopped(msgspec.Struct, frozen=True):
    """One guest that we have stopped, or are about to."""

    key: str
    name: str
    pid: int
    process: str
    """Which process of which boot the pid was: host.process.ProcessReader.identity."""
    told_at: float = -1e9
    """When it was told to stop, monotonic seconds: it may run, and stop only after that (core.track.LAND_S)."""


class SavedGuest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of one guest: core.kept.KeptGuest."""

    key: str
    process: str
    """Which process of which boot it was, as above: what is kept dies with it, and its times are of that boot."""
    pid: int
    ceiling: int | None = None
    learnt: int = 0
    learnt_at: float = 0.0
    asked: int | None = None


class Contained(msgspec.Struct, frozen=True):
    """One guest's control group whose memory.high we change (`contain = true`)."""

    group: str
    """Its folder."""
    inode: int
    """The folder's: a group made again under its name is another one."""
    boot: str
    """Which boot of the machine that was."""
    before: int | None
    """What memory.high was before us, bytes; None is "max"."""


class Saved(msgspec.Struct, frozen=True):
    """All that is kept. Fields are only ever added, each with a default; another meaning is another version."""

    v: int = VERSION
    stopped: tuple[Stopped, ...] = ()
    guests: tuple[SavedGuest, ...] = ()
    holds: tuple[str, ...] = ()
    """Keys, sorted."""
    contained: tuple[Contained, ...] = ()


class _Version(msgspec.Struct):
    v: int


def state_path(socket: str, environment: Mapping[str, str], root: Path = Path("/")) -> Path:
    """Where it is: state.json in systemd's $STATE_DIRECTORY, else beside the control socket.

    Where the service has been at work, who uses its socket by hand (`run --release`, say) uses its state, too.
    """
    folder = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if folder.startswith("/"):
        return Path(folder) / NAME
    its = root / SERVICES.relative_to("/")
    return its / NAME if socket == DEFAULT_SOCKET and its.is_dir() else Path(f"{socket}.state.json")


_LINK = "is a symbolic link"
_TO_DO = (
    "A guest that it says was stopped stays so: resume it with `cont`; "
    "a group whose memory.high it says was changed, too: write max into it"
)
_WHERE = "Nothing in it is believed; choose a [control] socket in a folder where nobody else may write"


def _opened(path: str, flags: int) -> int:
    """Follows no link, and waits for no writer of a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _stranger(file: os.stat_result) -> str | None:
    """Why another may have written what it says, in words that go on from its name; None where nobody can have."""
    if not stat.S_ISREG(file.st_mode):
        return "is no regular file"
    if file.st_uid not in (0, os.geteuid()):
        return f"belongs to somebody else (uid {file.st_uid})"
    return "may be written by others" if file.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None


class StateFile:
    """The file at `path`; it need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Lock()
        """Whoever gives up waiting for a disk that hangs leaves a thread that will write yet: the next waits for it."""

    def load(self) -> Saved:
        """What was kept; nothing when there is no file. One that cannot be used is set aside, and the log says so.

        As root we resume guests and write to groups that it names. So one that another can have put there is not
        used either: beside a control socket the folder may be anybody's.
        CouldNot when it may not be read: guests that it says were stopped would be forgotten.
        """
        try:
            with open(self.path, "rb", opener=_opened) as file:
                stranger, raw = _stranger(os.fstat(file.fileno())), file.read(LONGEST + 1)
        except FileNotFoundError:
            return Saved()
        except PermissionError as error:
            raise CouldNot(
                f"the state file {self.path} cannot be read ({error.strerror}); run as root"
            ) from None
        except OSError as error:
            is_link = error.errno == errno.ELOOP
            self._set_aside(_LINK if is_link else f"cannot be read ({error.strerror})", is_ours=not is_link)
            return Saved()
        if stranger is not None:
            self._set_aside(stranger, is_ours=False)
            return Saved()
        try:
            version = msgspec.json.decode(raw, type=_Version).v
            if version == VERSION and len(raw) <= LONGEST:
                return msgspec.json.decode(raw, type=Saved)
            what = f"is of version {version}, and this autoballoon knows {VERSION}"
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            what = f"cannot be understood ({error})"
        self._set_aside(what)
        return Saved()

    def _set_aside(self, what: str, *, is_ours: bool = True) -> None:
        aside = self.path.with_name(self.path.name + ASIDE)
        try:
            self.path.replace(aside)
        except OSError as error:
            log.error("the state file %s %s; it stays there: %s", self.path, what, error.strerror)
            return
        log.error(
            "the state file %s %s; it is now %s. %s", self.path, what, aside, _TO_DO if is_ours else _WHERE
        )

    def save(self, saved: Saved) -> None:
        """Keep this, on the disk when the call returns; a file with nothing in it is removed. CouldNot on failure."""
        try:
            with self._turn:
                if saved == Saved():
                    self.path.unlink(missing_ok=True)
                else:
                    self._write(msgspec.json.encode(saved))
        except OSError as error:
            raise CouldNot(
                f"the state file {self.path} cannot be written ({error.strerror}); make room, or run as root"
            ) from None

    def _write(self, content: bytes) -> None:
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = self.path.with_name(self.path.name + ".new")
        # What a killed daemon left of it is replaced, and never followed when it is a link.
        new.unlink(missing_ok=True)
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(file, "wb") as written:
                written.write(content)
                written.flush()
                os.fsync(written.fileno())
            new.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
