import io
from types import SimpleNamespace
from typing import Any, cast

from autoballoon.core.model import Host, Snapshot
from autoballoon.core.units import MIB
from autoballoon.lab.progress import Progress, sentence
from autoballoon.lab.vm import Event, Vm
from autoballoon.views.lab_results import Sample

SAMPLE = Sample(
    arm="off", round=1, at_s=34.2, usage=2312 * MIB, limit=2600 * MIB, swap_in_pages=1200, swap_out_pages=34,
    snapshot=Snapshot(host=Host(capacity=1, available=1)),
)  # fmt: skip


def guest(*said: tuple[str, dict[str, Any]]) -> Vm:
    """A guest that has said these things: all that progress looks at."""
    return cast(Vm, SimpleNamespace(heard=[Event(name, 0.0, data) for name, data in said]))


def test_one_sentence_tells_what_guests_do_what_is_held_and_what_is_swapped() -> None:
    guests = [
        guest(("ready", {})),
        guest(("ready", {}), ("filled", {})),
        guest(("phase", {"n": 0})),
        guest(("phase", {"n": 0}), ("begin", {"n": 1})),
        guest(("begin", {"n": 1}), ("short", {"n": 1})),
        guest(("phase", {"n": 3}), ("done", {})),
    ]
    said = sentence("off", 10, guests, SAMPLE)
    assert said.startswith("off 34 s: 4 boot, 1 done, 1 fill, 3 phase 2, 1 ready | 2312 of 2600 MiB held")
    assert said.endswith("swapped in 1,200, out 34 pages")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_keeps_one_line_and_a_file_gets_one_every_few_seconds() -> None:
    terminal, file = Terminal(), io.StringIO()
    for to in (terminal, file):
        progress = Progress(to, 8)
        for _ in range(5):
            progress.watch("off", [], SAMPLE)
        progress.say("done")
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().count("\r\x1b[K") == 5
    assert file.getvalue().count("\n") == 2
