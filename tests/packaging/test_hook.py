"""libvirt's hook: it asks for what the guest will hold, never fails, and never waits long."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autoballoon.core.units import parse_size

HOOK = Path(__file__).resolve().parents[2] / "packaging" / "hooks" / "qemu"
XML = """<domain type='kvm' id='3'>
  <name>web-1</name>
  <memory unit='KiB'>2097152</memory>
  <currentMemory unit='KiB'>1048576</currentMemory>
  <devices>
    <memory model='dimm'>
      <target>
        <size unit='KiB'>524288</size>
      </target>
    </memory>
  </devices>
</domain>
"""

Called = Callable[..., list[str]]


@pytest.fixture
def hook(tmp_path: Path) -> Called:
    """Calls the hook with a stand-in for the command; what the stand-in was called with."""
    socket, said, stand_in = (tmp_path / name for name in ("control.sock", "said", "autoballoon"))

    def call(operation: str = "prepare", xml: str = XML, does: str = "exit 0", **settings: str) -> list[str]:
        import socket as sockets  # noqa: PLC0415

        stand_in.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{said}\n{does}\n')
        stand_in.chmod(0o755)
        if not socket.exists():
            sockets.socket(sockets.AF_UNIX).bind(str(socket))
        environment = {
            "PATH": os.environ["PATH"], "AUTOBALLOON": str(stand_in), "AUTOBALLOON_SOCKET": str(socket),
            "AUTOBALLOON_HOOK_SETTINGS": str(tmp_path / "none"),
        }  # fmt: skip
        words = [str(HOOK), "web-1", operation, "begin", "-"]
        done = subprocess.run(
            words,
            input=xml,
            text=True,
            env=environment | settings,
            capture_output=True,
            timeout=10,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return said.read_text().splitlines() if said.exists() else []

    return call


def test_it_asks_for_what_the_guest_will_hold(hook: Called, tmp_path: Path) -> None:
    assert hook() == [
        *("room", "1048576KiB", "--for", "web-1", "--timeout", "10s"),
        *("--socket", str(tmp_path / "control.sock")),
    ]


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("  <memory unit='GiB'>2</memory>", 2 << 30),
        ("  <memory>4096</memory>", 4096 << 10),
        ("  <memory dumpCore='off' unit='M'>64</memory>", 64 << 20),
        ("  <memory unit='bytes'>4096</memory>", 4096),
        ("  <memory unit='KB'>4096</memory>", 4096000),
    ],
)
def test_it_knows_every_unit_of_libvirt(hook: Called, line: str, size: int) -> None:
    asked = hook(xml=f"<domain>\n{line}\n</domain>\n")
    assert parse_size(asked[1]) == size


@pytest.mark.parametrize(
    "xml", ["", "hello", "<domain>\n  <memory unit='x;y'>a</memory>\n</domain>", "\0\xff" * 1000]
)
def test_what_it_cannot_read_starts_the_guest_all_the_same(hook: Called, xml: str) -> None:
    assert hook(xml=xml) == []


def test_it_minds_its_own_business(hook: Called, tmp_path: Path) -> None:
    for operation in ("start", "started", "stopped", "release", "migrate"):
        assert hook(operation) == []
    assert hook(AUTOBALLOON_SOCKET=str(tmp_path / "no.sock")) == []


def test_it_never_fails_and_never_waits_longer_than_it_may(hook: Called) -> None:
    assert hook(does="echo out of room >&2; exit 3")[0] == "room"
    hook(AUTOBALLOON="/no/such/command")
    began = time.monotonic()
    hook(does="sleep 60", AUTOBALLOON_ROOM_TIMEOUT="1")
    assert time.monotonic() - began < 4
