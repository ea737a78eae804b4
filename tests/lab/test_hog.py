from autoballoon.core.units import MIB
from autoballoon.lab.hog import take


def test_the_hog_writes_every_page_at_its_pace() -> None:
    memory = take(2, 0.0)
    assert len(memory) == 2 * MIB
    assert bytes(memory[::4096]) == b"\x01" * 512
