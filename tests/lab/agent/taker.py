"""Runs in the guest: "take MIB" fills memory, "drop" gives it back, "status" asks the agent; answers on its console."""

import json
import mmap
import subprocess
import sys

held = []


def say(event: str, **data: object) -> None:
    print("\n@ab " + json.dumps({"event": event, **data}), flush=True)


say("up")
for line in sys.stdin:
    words = line.split()
    if words[:1] == ["take"]:
        say("taking")
        memory = mmap.mmap(-1, int(words[1]) << 20)
        for at in range(0, len(memory), mmap.PAGESIZE):
            memory[at] = 1
        held.append(memory)
        say("answer")
    elif words == ["drop"]:
        while held:
            held.pop().close()
        say("answer")
    elif words == ["status"]:
        done = subprocess.run(
            [sys.executable, "/project/autoballoon_agent.py", "status"],
            capture_output=True,
            text=True,
            check=False,
        )
        say("answer", code=done.returncode, says=done.stdout + done.stderr)
