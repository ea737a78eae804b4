"""What the kernel of a driven guest has said, read out of a log of ours."""

import asyncio
from typing import cast

import pytest
from qemu.qmp import QMPClient

from autoballoon.lab.vm import Vm
from tests.lab.driven import MARK, Driven


class Here(Driven):
    """A shell of this machine whose `dmesg` prints the given lines."""

    def __init__(self, *log: str) -> None:
        super().__init__(cast(Vm, None), cast(QMPClient, None))
        self.log = "\n".join(log)

    async def sh(self, line: str, *, may_fail: bool = False, seconds: float = 60.0) -> str:
        script = f'dmesg() {{ printf "%s\\n" "$LOG"; }}; {line}'
        shell = await asyncio.create_subprocess_exec(
            "sh", "-c", script, env={"LOG": self.log, "PATH": "/bin:/usr/bin"}, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await shell.communicate()
        assert may_fail or shell.returncode == 0, line
        return said.decode().replace("\n", "|")


async def test_news_are_what_the_kernel_has_said_since_and_does_not_say_anyway() -> None:
    log = ("BUG: of before", f"[ 1] {MARK}", "autoballoon: loading out-of-tree module", "BUG: something new")
    assert await Here(*log).news() == "BUG: something new|"
    assert await Here(*log[:3]).news() == ""


async def test_a_log_that_no_longer_reaches_back_to_the_mark_is_no_news_at_all() -> None:
    with pytest.raises(AssertionError, match=MARK):
        await Here("BUG: something new").news()
