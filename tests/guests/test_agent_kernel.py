"""The guest's kernel by its agent, and agents that are something else."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from autoballoon.guests import agent_kernel
from autoballoon.guests.agent_kernel import kernel_of

Answer = Callable[[dict[str, object]], bytes]


async def told(folder: Path, answer: Answer, greeting: bytes = b"") -> str | None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        while line := await reader.readline():
            writer.write(answer(json.loads(line)))
        writer.close()

    path = folder / "a.qga"
    async with await asyncio.start_unix_server(serve, path):
        return await kernel_of(str(path))


def agent(request: dict[str, object]) -> bytes:
    if request["execute"] == "guest-sync":
        arguments = request["arguments"]
        assert isinstance(arguments, dict)
        return json.dumps({"return": arguments["id"]}).encode() + b"\n"
    return b'{"return": {"kernel-release": "5.4.0-150-generic", "id": "ubuntu"}}\n'


async def test_it_tells_its_kernel(tmp_path: Path) -> None:
    assert await told(tmp_path, agent) == "5.4.0-150-generic"


async def test_what_an_earlier_client_left_is_passed_over(tmp_path: Path) -> None:
    assert await told(tmp_path, agent, greeting=b'{"return": {}}\n{"return": 17}\n') == "5.4.0-150-generic"


@pytest.mark.parametrize(
    "line",
    [
        b"220 mail.example.org ESMTP\n",
        b'{"error": {"class": "CommandNotFound"}}\n',
        b"[" * 60_000 + b"\n",
        b"x" * 200_000,
        b'{"return": \xff}\n',
        b"",
    ],
)
async def test_somebody_else_tells_nothing(
    tmp_path: Path, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_kernel, "PATIENCE_S", 0.05)
    assert await told(tmp_path, lambda request: line) is None


async def test_a_release_that_is_not_fit_to_print_is_bounded(tmp_path: Path) -> None:
    def long(request: dict[str, object]) -> bytes:
        if request["execute"] == "guest-sync":
            return agent(request)
        return json.dumps({"return": {"kernel-release": "\x1b[2J5.4" + "a" * 500}}).encode() + b"\n"

    release = await told(tmp_path, long)
    assert release is not None
    assert release.startswith("[2J5.4")
    assert len(release) == 64


async def test_nobody_listens(tmp_path: Path) -> None:
    assert await kernel_of(str(tmp_path / "none")) is None
