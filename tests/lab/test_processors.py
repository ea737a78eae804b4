from pathlib import Path

from autoballoon.lab.processors import busy_s, noise


def test_idle_and_waiting_are_not_busy_and_stolen_time_is(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  100 20 300 9999 8888 4 6 70 55 0\ncpu0 1 2 3\n")
    assert busy_s(tmp_path) == 5.0  # hundredths of a second; a guest's time (55) is part of user


def test_others_are_told_of_from_a_tenth_of_the_machine() -> None:
    assert noise(20.0, 100.0, 2) is None
    said = noise(70.0, 100.0, 2)
    assert said is not None and "took 35% of this machine's processors" in said
    assert noise(0.0, 0.0, 2) is None
