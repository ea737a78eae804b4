"""Runs in the guest: "take MIB" fills memory, "drop" gives it back, "status" asks the agent, "standing" tells how that
runs, "thrash" uses more memory than there is, over and over, until the guest ends; answers on its console."""

import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

BEYOND_MIB = 96
"""So much more than there is; it goes into the guest's swap and comes back."""
held: list[mmap.mmap] = []


def say(event: str, **data: object) -> None:
    print("\n@ab " + json.dumps({"event": event, **data}), flush=True)


def take(mib: int) -> None:
    memory = mmap.mmap(-1, mib << 20)
    touch(memory)
    held.append(memory)


def touch(memory: mmap.mmap) -> None:
    for at in range(0, len(memory), mmap.PAGESIZE):
        memory[at] = 1


def number(path: str, name: str) -> int:
    """The number in the line of this name of a file of /proc."""
    lines = (line.split() for line in Path(path).read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == name)


def thrash() -> None:
    memory = mmap.mmap(-1, (number("/proc/meminfo", "MemTotal:") << 10) + (BEYOND_MIB << 20))
    while True:
        touch(memory)


def agents_pid() -> int:
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        if b"# autoballoon-agent\0" in cmdline.read_bytes():
            return int(cmdline.parent.name)
    raise LookupError("no agent runs")


say("up")
for line in sys.stdin:
    words = line.split()
    if words[:1] == ["take"]:
        say("taking")
        take(int(words[1]))
        say("answer")
    elif words == ["thrash"]:
        say("answer")
        thrash()
    elif words == ["standing"]:
        pid = agents_pid()
        say(
            "answer",
            locked_kib=number(f"/proc/{pid}/status", "VmLck:"),
            nice=os.getpriority(os.PRIO_PROCESS, pid),
            oom_score_adj=int(Path(f"/proc/{pid}/oom_score_adj").read_text()),
        )
    elif words == ["drop"]:
        while held:
            held.pop().close()
        say("answer")
    elif words == ["status"]:
        done = subprocess.run(
            ["/project/autoballoon_agent.py", "status"],
            capture_output=True,
            text=True,
            check=False,
        )
        say("answer", code=done.returncode, says=done.stdout + done.stderr)
