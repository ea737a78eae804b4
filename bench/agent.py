"""What the agent in a guest costs: processor time and memory over a stated time, with this machine's own /proc.

Its port is a terminal of ours, read here as the host would. A machine with more than a quarter of its memory available
is looked at twice a second, as a quiet guest is; `--near` has it believe that it has less, and it is looked at ten
times. No PSI trigger is set: the time waited is read with each look. How long one line takes to make is measured in
this process.

    bench/agent.py [--seconds 60] [--near] [--agent FILE]
"""

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import tty
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LINES = 1000


def agents_root(folder: Path, port: str, near: bool) -> None:
    """A root whose /proc is this machine's, as far as the agent reads it."""
    link = folder / "dev/virtio-ports/org.autoballoon.0"
    link.parent.mkdir(parents=True)
    link.symlink_to(port)
    (folder / "proc/pressure").mkdir(parents=True)
    for name in ("vmstat", "swaps", "pressure/memory"):
        (folder / "proc" / name).symlink_to(Path("/proc", name))
    if near:
        text = Path("/proc/meminfo").read_text()
        lines = (
            f"{line.split(':')[0]}: 1000 kB" if "MemAvailable" in line else line for line in text.splitlines()
        )
        (folder / "proc/meminfo").write_text("\n".join(lines) + "\n")
    else:
        (folder / "proc/meminfo").symlink_to("/proc/meminfo")


def cpu_s(pid: int) -> float:
    """Seconds of processor time, its own and the kernel's for it."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def memory(pid: int) -> dict[str, int]:
    """MiB."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        words[0]: int(words[1]) // 1024 for words in lines if words[0] in ("VmRSS:", "RssAnon:", "VmLck:")
    }


def line_us(agent: Path) -> float:
    """Microseconds that a line takes."""
    spec = importlib.util.spec_from_file_location("agent", agent)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.Memory("/")
    began = time.process_time()
    for number in range(LINES):
        made.line(number, b"pressure")
    return (time.process_time() - began) / LINES * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--near", action="store_true")
    parser.add_argument("--agent", type=Path, default=ROOT / "guest/agent/autoballoon_agent.py")
    words = parser.parse_args()
    host, port = os.openpty()
    tty.setraw(port)
    with tempfile.TemporaryDirectory() as folder:
        agents_root(Path(folder), os.ttyname(port), words.near)
        command = [sys.executable, str(words.agent), "--root", folder]
        with subprocess.Popen(command) as process:
            try:
                os.read(host, 4096)
                before, until, said = cpu_s(process.pid), time.monotonic() + words.seconds, 0
                os.set_blocking(host, False)
                while time.monotonic() < until:
                    time.sleep(0.5)
                    with contextlib.suppress(BlockingIOError):
                        said += os.read(host, 1 << 16).count(b"\n")
                used = cpu_s(process.pid) - before
                sizes = memory(process.pid)
            finally:
                process.kill()
    os.close(host)
    os.close(port)
    print(f"{words.seconds:g} s, {'near its edge' if words.near else 'quiet'}: {said} lines")
    print(f"CPU {used / words.seconds * 100:.3f} % of a processor")
    print("MiB: " + ", ".join(f"{name[:-1]} {size}" for name, size in sizes.items()))
    print(f"one line: {line_us(words.agent):.0f} microseconds")


if __name__ == "__main__":
    main()
