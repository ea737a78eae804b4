"""A QMP server that says whatever it likes: its session goes on, what that shows is bounded, and nothing is left."""

import asyncio
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.units import MIB
from autoballoon.guests import qmp_client
from autoballoon.guests.fake import FakeGuest
from autoballoon.guests.hypervisor import sleep_on
from autoballoon.guests.qmp_client import Client
from autoballoon.guests.qmp_guest import LARGEST
from autoballoon.guests.qmp_meet import Terms
from autoballoon.guests.qmp_session import Session
from tests.guests.fake_qmp import FakeQemu

TERMS = Terms(
    lambda path, pid: None,
    lambda pid: None,
    timeout_s=0.03,
    interval_s=0.005,
    queue_s=0.03,
    backoff_s=(0.001, 0.001),
)
WORDS = (
    *("return", "error", "class", "desc", "event", "data", "id", "QMP", "capabilities", "timestamp"),
    *("actual", "stats", "last-update", "stat-total-memory", "stat-available-memory", "stat-free-memory"),
    *("status", "running", "inmigrate", "name", "type", "size", "base-memory", "plugged-memory", "dimm"),
    *(
        "guest-features",
        "dev-features",
        "statuses",
        "last-avail-idx",
        "inuse",
        "DRIVER_OK",
        "CommandNotFound",
    ),
    *("BALLOON_CHANGE", "RESET", "STOP", "RESUME", "MIGRATION", "child<virtio-balloon-pci>"),
)

EVENTS = ("BALLOON_CHANGE", "RESET", "STOP", "RESUME", "MIGRATION", "MEMORY_DEVICE_SIZE_CHANGE")
FIELDS = {
    "query-balloon": "actual",
    "query-status": "status",
    "query-migrate": "status",
    "query-memory-size-summary": "base-memory",
    "x-query-virtio-status": "status",
    "x-query-virtio-queue-status": "last-avail-idx",
}
NOT_VERIFIED = "its QEMU process could not be verified, so its host memory is unknown; run as root"

words = st.sampled_from(WORDS) | st.text(max_size=8)
sizes = st.integers(0, 1 << 64)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 80), 1 << 80) | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=6),
    max_leaves=12,
)


def _line(message: object) -> Callable[[Any], bytes]:
    return lambda request: json.dumps(message).encode() + b"\n"


def _reply(kind: str, value: object) -> Callable[[Any], bytes]:
    return lambda request: json.dumps({kind: value, "id": request.get("id")}).encode() + b"\n"


def _nearly(value: object) -> Callable[[Any], bytes]:
    """A reply of the right shape with any value in it."""
    return lambda request: _reply("return", {FIELDS.get(request["execute"], "stats"): value})(request)


def _event(name: str, data: object) -> Callable[[Any], bytes]:
    return _line({"event": name, "data": data, "timestamp": {"seconds": 1, "microseconds": 0}})


says = st.one_of(
    st.builds(_reply, st.sampled_from(["return", "return", "error"]), values),
    st.builds(_nearly, sizes | values),
    st.builds(_event, st.sampled_from(EVENTS), st.builds(dict, actual=sizes | values, status=values)),
    st.builds(_event, words, values),
    st.builds(_line, values),
    st.builds(lambda raw: lambda request: raw, st.binary(max_size=40)),
)
"""(command) -> what is said to it: a reply of any shape, an event, any JSON at all, bytes."""


@given(said=st.lists(says, min_size=1, max_size=12))
def test_whatever_a_server_says_its_guest_is_watched_again_when_it_is_well(
    said: list[Callable[[Any], bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("qmp") / "one.qmp"
    asyncio.run(_hear(path, said))


async def _hear(path: Path, said: list[Callable[[Any], bytes]]) -> None:
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
    session = Session(str(path), "one", TERMS, sleep_on, 0.0)
    task = asyncio.create_task(session.run())
    try:
        async with FakeQemu(path, FakeGuest("one")) as qemu:
            await _until(lambda: session.known is not None)
            left = list(said)

            def instead(request: Any) -> bytes:
                return left.pop(0)(request) if left else b""

            qemu.instead = instead
            await _until(lambda: _check(session) and not left)
        async with FakeQemu(path, FakeGuest("one")) as well:
            await _until(lambda: _check(session) and len(well.commands) > 8 and _is_well(session))
            assert await session.set_target(300 * MIB)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    gc.collect()  # an exception that nobody took is told of then
    assert unhandled == []


def _is_well(session: Session) -> bool:
    known = session.known
    return session.problems() == [NOT_VERIFIED] and known is not None and known.max == 512 * MIB


def _check(session: Session) -> bool:
    """What is shown can be told to anybody, and is bounded."""
    for says in session.problems():
        msgspec.json.encode(says)
        assert len(says) < 1000
    if session.known is not None:
        guest = session.known.as_guest(session.path, 0.0)
        msgspec.json.encode(guest)
        assert 0 <= guest.actual <= guest.max <= LARGEST
        assert all(
            0 <= (size or 0) <= guest.max for size in (guest.total, guest.available, guest.free, guest.caches)
        )
        assert len(guest.name) <= 64
    return True


async def _until(is_so: Callable[[], bool]) -> None:
    for _ in range(2000):
        if is_so():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it never came to be")


@given(said=st.lists(st.binary(max_size=90) | st.just(b"\n"), max_size=12))
def test_what_comes_is_kept_for_a_line_at_most_and_none_of_it_is_lost(said: list[bytes]) -> None:
    passed: list[bytes] = []

    async def main() -> None:
        client = Client(1.0, lambda event, data: None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(qmp_client, "MAX_LINE", 100)
            for piece in said:
                client._sort(piece, passed.append)
                assert len(client._begun) <= 100
        assert b"".join(passed) + client._begun == b"".join(said)

    asyncio.run(main())
