"""What the machine's processors did: work beside the lab's makes its times longer, and must be seen to be believed."""

import os
from pathlib import Path

_HZ = os.sysconf("SC_CLK_TCK")
_NOISE = 0.1
"""Of all processors. Where they are half idle, that much beside the guests hardly delays them."""


def busy_s(root: Path = Path("/")) -> float:
    """Seconds that all processors together were busy since boot, guests of this machine among them.

    Source: proc(5), the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
    """
    user, nice, system, _, _, irq, softirq, *rest = map(
        int, (root / "proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + sum(rest)) / _HZ


def noise(others_s: float, wall_s: float, cores: int) -> str | None:
    """One sentence when others were busy for so long that times cannot be trusted, else None."""
    share = others_s / (wall_s * cores) if wall_s else 0.0
    if share <= _NOISE:
        return None
    return f"other work took {share:.0%} of this machine's processors, so that times are longer than they should be"
