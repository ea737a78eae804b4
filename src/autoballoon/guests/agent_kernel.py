"""Which kernel a guest runs, as its qemu-guest-agent tells it: one question, for doctor."""

import asyncio
import contextlib
import secrets

import msgspec

PATIENCE_S = 1.0
LONGEST = 64 << 10
"""Bytes of one answer that are taken."""
_KERNEL_LENGTH = 64


class _OsInfo(msgspec.Struct):
    kernel_release: str = msgspec.field(name="kernel-release", default="")


class _Reply(msgspec.Struct):
    result: msgspec.Raw = msgspec.field(name="return", default=msgspec.Raw(b"null"))


async def kernel_of(socket: str) -> str | None:
    """The guest's kernel release; None when nobody answers, or not as an agent does. Nothing raises."""
    # ValueError: a line that is too long, or no text.
    with contextlib.suppress(OSError, TimeoutError, ValueError, RecursionError, msgspec.DecodeError):
        async with asyncio.timeout(PATIENCE_S):
            return await _ask(socket)
    return None


async def _ask(socket: str) -> str | None:
    reader, writer = await asyncio.open_unix_connection(socket, limit=LONGEST)
    try:
        # What an earlier client left unread comes first: guest-sync's answer says where ours begin.
        number = secrets.randbelow(1 << 31)
        writer.write(
            b'{"execute":"guest-sync","arguments":{"id":%d}}\n{"execute":"guest-get-osinfo"}\n' % number
        )
        await writer.drain()
        while _result(await reader.readline()) != str(number).encode():
            pass
        info = msgspec.json.decode(_result(await reader.readline()), type=_OsInfo)
    finally:
        writer.transport.abort()
    release = "".join(c for c in info.kernel_release if c.isprintable())[:_KERNEL_LENGTH]
    return release or None


def _result(line: bytes) -> bytes:
    return bytes(msgspec.json.decode(line, type=_Reply).result)
