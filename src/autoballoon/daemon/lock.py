"""One daemon per control socket: a lock beside the socket, and the socket itself."""

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

from autoballoon.core.errors import CouldNot

SOCKET_MODE = 0o660
"""Whoever may write to the socket controls the daemon, as with libvirt's: owner and group."""
BACKLOG = 32


class ControlSocket:
    """The listening control socket of this daemon, and the lock that makes it the only one.

    The lock outlives no process: a socket that a killed daemon left is thereby known as stale, and replaced.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock and listen. CouldNot when another daemon holds it, or the machine refuses."""
        self.path = path
        self._lock_path = path.with_name(path.name + ".lock")
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._lock = self._take_lock()
        except OSError as error:
            raise CouldNot(
                f"cannot make the control socket {path} ({error.strerror}); "
                "run as root or choose another [control] socket"
            ) from None
        try:
            self.listener = self._listen()
        except OSError as error:
            self._release()
            raise CouldNot(
                f"cannot listen on {path} ({error.strerror}); choose another [control] socket"
            ) from None
        except CouldNot:
            self._release()
            raise

    def _take_lock(self) -> int:
        while True:
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(lock)
                if error.errno != errno.EWOULDBLOCK:
                    raise
                raise CouldNot(
                    f"another autoballoon daemon holds {self.path}; "
                    "stop it, or give this one another [control] socket"
                ) from None
            if self._is_at_its_path(lock):
                return lock
            os.close(lock)

    def _is_at_its_path(self, lock: int) -> bool:
        """False when the daemon that held the lock before has removed the file that we had opened."""
        try:
            there = self._lock_path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(lock), there)

    def _listen(self) -> socket.socket:
        if self.path.exists() or self.path.is_symlink():
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise CouldNot(
                    f"{self.path} exists and is no socket; move it away, or choose another [control] socket"
                )
            if self._is_served():
                raise CouldNot(
                    f"somebody else's program listens on {self.path}; choose another [control] socket"
                )
            self.path.unlink()
        listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        try:
            listener.bind(str(self.path))
            self.path.chmod(SOCKET_MODE)  # before listen(): nobody can have connected under another mode
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener

    def _is_served(self) -> bool:
        """Whether somebody listens there; as we hold the lock it is no daemon, but a guest's monitor, say."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as visitor:
            # EAGAIN: there is a listener, and its queue is full.
            return visitor.connect_ex(str(self.path)) in (0, errno.EAGAIN)

    def close(self) -> None:
        """Remove the socket and the lock, in this order; safe to call twice."""
        if self._lock < 0:
            return
        self.listener.close()
        self.path.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1
