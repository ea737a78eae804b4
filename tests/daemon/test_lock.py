"""One daemon per control socket."""

import socket
import stat
from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.daemon.lock import ControlSocket


def test_the_second_is_refused_until_the_first_has_left(tmp_path: Path) -> None:
    path = tmp_path / "run" / "control.sock"
    first = ControlSocket(path)
    with pytest.raises(CouldNot, match="another autoballoon daemon holds"):
        ControlSocket(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    first.close()
    first.close()
    assert list(path.parent.iterdir()) == []
    ControlSocket(path).close()


def test_what_a_killed_daemon_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    (tmp_path / "control.sock.lock").touch()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    control = ControlSocket(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    control.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious.txt"
    path.write_text("words")
    with pytest.raises(CouldNot, match="is no socket"):
        ControlSocket(path)
    assert path.read_text() == "words"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("waiting", [0, 1])
def test_a_socket_that_another_program_serves_is_not_taken_from_it(tmp_path: Path, waiting: int) -> None:
    path = tmp_path / "web-1.qmp"
    with socket.socket(socket.AF_UNIX) as served, socket.socket(socket.AF_UNIX) as client:
        served.bind(str(path))
        served.listen(0)
        if waiting:  # the queue is full
            client.connect(str(path))
        with pytest.raises(CouldNot, match="somebody else's program listens"):
            ControlSocket(path)
        assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CouldNot, match="cannot make the control socket"):
        ControlSocket(tmp_path / "file" / "control.sock")
