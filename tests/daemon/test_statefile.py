"""The file that outlives the daemon: written whole or not at all, and set aside when it cannot be used."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoballoon.core.errors import CouldNot
from autoballoon.daemon.config import DEFAULT_SOCKET
from autoballoon.daemon.statefile import LONGEST, SERVICES, Saved, SavedGuest, StateFile, Stopped, state_path

TWO = SavedGuest(
    key="/run/vms/db.qmp", process="boot/124/456", pid=124, ceiling=1 << 29, learnt=5, learnt_at=9.5
)
ONE = Stopped(key="/run/vms/web.qmp", name="web", pid=123, process="boot/123/456")


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "state" / "state.json")


@pytest.mark.parametrize(
    ("folder", "path"),
    [
        ("/var/lib/autoballoon", "/var/lib/autoballoon/state.json"),
        ("/var/lib/one:/var/lib/two", "/var/lib/one/state.json"),
        ("", "/run/x.sock.state.json"),
        ("here", "/run/x.sock.state.json"),
    ],
)
def test_it_lies_where_systemd_says_or_beside_the_socket(folder: str, path: str) -> None:
    assert state_path("/run/x.sock", {"STATE_DIRECTORY": folder}) == Path(path)
    assert state_path("/run/x.sock", {}) == Path("/run/x.sock.state.json")


def test_who_uses_the_services_socket_by_hand_uses_its_state(tmp_path: Path) -> None:
    beside = Path(f"{DEFAULT_SOCKET}.state.json")
    assert state_path(DEFAULT_SOCKET, {}, tmp_path) == beside, "no service was ever here"
    (tmp_path / "var/lib/autoballoon").mkdir(parents=True)
    assert state_path(DEFAULT_SOCKET, {}, tmp_path) == tmp_path / "var/lib/autoballoon/state.json"
    assert state_path("/run/x.sock", {}, tmp_path) == Path("/run/x.sock.state.json")
    unit = (Path(__file__).parents[2] / "packaging/autoballoon.service").read_text()
    assert f"\nStateDirectory={SERVICES.relative_to('/var/lib')}\n" in unit


def test_what_was_saved_is_loaded_and_nobody_else_may_read_it(file: StateFile) -> None:
    assert file.load() == Saved()
    saved = Saved(stopped=(ONE,), guests=(TWO,), holds=("/run/vms/db.qmp",))
    file.save(saved)
    assert file.load() == saved
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.path.parent.iterdir()] == ["state.json"]


def test_with_nothing_to_keep_there_is_no_file(file: StateFile) -> None:
    file.save(Saved())
    assert not file.path.exists()
    file.save(Saved(stopped=(ONE,)))
    file.save(Saved())
    assert list(file.path.parent.iterdir()) == []


def test_fields_of_a_later_daemon_are_no_harm(file: StateFile) -> None:
    file.save(Saved(stopped=(ONE,)))
    file.path.write_text(file.path.read_text()[:-1] + ',"later":["db"]}')
    assert file.load() == Saved(stopped=(ONE,))


def test_a_file_of_before_holds_and_sizes_were_kept_is_read(file: StateFile) -> None:
    file.path.parent.mkdir()
    one = '{"key":"/run/vms/web.qmp","name":"web","pid":123,"process":"boot/123/456"}'
    file.path.write_text('{"v":1,"stopped":[' + one + "]}")
    assert file.load() == Saved(stopped=(ONE,))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "cannot be understood"),
        (b"{", "cannot be understood"),
        (b"\xff\xfe", "cannot be understood"),
        (b"[]", "cannot be understood"),
        (b'{"stopped":[]}', "cannot be understood"),
        (b'{"v":1,"stopped":[{"key":1}]}', "cannot be understood"),
        (b'{"v":1,"guests":[{"key":"k","process":"p","pid":1,"ceiling":"all"}]}', "cannot be understood"),
        (b'{"v":2,"stopped":{}}', "is of version 2"),
        (b"[" * 5000, "cannot be understood"),
        (b'{"v":1,"pad":"' + b"x" * LONGEST + b'"}', "cannot be understood"),
    ],
)
def test_one_that_cannot_be_used_is_set_aside_with_a_sentence(
    file: StateFile, caplog: pytest.LogCaptureFixture, text: bytes, says: str
) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(text)
    assert file.load() == Saved()
    assert says in caplog.text
    assert not file.path.exists()
    assert file.path.with_name("state.json.unusable").read_bytes() == text
    assert file.load() == Saved()


def test_one_that_cannot_be_read_is_set_aside_too(file: StateFile, caplog: pytest.LogCaptureFixture) -> None:
    """The next save would replace it, and with it whom it says was stopped."""
    file.path.mkdir(parents=True)
    (file.path / "precious").touch()
    assert file.load() == Saved()
    assert "cannot be read (Is a directory); it is now" in caplog.text
    assert (file.path.with_name("state.json.unusable") / "precious").exists()


def test_one_that_may_not_be_read_is_no_empty_one(file: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.save(Saved(stopped=(ONE,)))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(CouldNot, match=r"cannot be read .Permission denied.; run as root"):
            file.load()
    assert file.load() == Saved(stopped=(ONE,))


def theirs_to_write(path: Path) -> None:
    path.chmod(0o620)


def theirs(path: Path) -> None:
    os.chown(path, 12345, -1)


def a_link(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("planted")))


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (theirs_to_write, "may be written by others"),
        pytest.param(
            theirs,
            "belongs to somebody else (uid 12345)",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away"),
        ),
        (a_link, "is a symbolic link"),
        (a_pipe, "is no regular file"),
    ],
)
def test_one_that_another_can_have_put_there_is_not_believed(
    file: StateFile, caplog: pytest.LogCaptureFixture, made: Callable[[Path], None], says: str
) -> None:
    """Root resumes whom it names, and writes to groups that it names."""
    file.save(Saved(stopped=(ONE,)))
    made(file.path)
    before = file.path.lstat()
    assert file.load() == Saved()
    aside = file.path.with_name("state.json.unusable")
    assert f"the state file {file.path} {says}; it is now {aside}. Nothing in it is believed" in caplog.text
    assert not file.path.is_symlink()
    assert not file.path.exists()
    assert os.path.samestat(before, aside.lstat()), "it is still what it was"


@given(st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_whatever_makes_it_fail(file: StateFile, text: bytes) -> None:
    file.path.parent.mkdir(exist_ok=True)
    file.path.write_bytes(text)
    file.load()


def test_one_that_cannot_be_written_is_one_sentence_and_leaves_the_old_one(
    file: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.save(Saved(stopped=(ONE,)))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CouldNot, match=r"cannot be written .No space left"):
        file.save(Saved(stopped=(ONE, ONE)))
    assert file.load() == Saved(stopped=(ONE,))
    assert [path.name for path in file.path.parent.iterdir()] == ["state.json"]


def test_a_link_in_its_place_is_not_followed(file: StateFile, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    file.path.parent.mkdir()
    file.path.symlink_to(victim)
    file.path.with_name("state.json.new").symlink_to(victim)
    file.save(Saved(stopped=(ONE,)))
    assert victim.read_text() == "precious"
    assert file.load() == Saved(stopped=(ONE,))


def test_it_is_on_the_disk_when_the_call_returns(file: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, really = [], os.fsync

    def fsync(fd: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(fd).st_mode))
        really(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    file.save(Saved(stopped=(ONE,)))
    assert synced == [False, True], "the file, and then its name"
