"""What is kept of a KVM that was tried. No guest is booted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autoballoon.core.errors import CouldNot
from autoballoon.lab import accel
from autoballoon.lab.accel import Wanted, choose_accel
from autoballoon.lab.image import GuestImage

IMAGE = GuestImage(kernel=Path("k"), initrd=Path("i"), disk=Path("d"), kernel_version="6.1")
SLOW = "/dev/kvm is there, but with KVM guest probe did not say ready within 10 s"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with /dev/kvm and QEMU, and an empty cache."""
    monkeypatch.setenv("AUTOBALLOON_CACHE", str(tmp_path))
    monkeypatch.setattr("os.access", lambda *_: True)
    monkeypatch.setattr(accel, "run", lambda _: "QEMU emulator version 7.2.0\n")


def probes(monkeypatch: pytest.MonkeyPatch, *troubles: str | None) -> Iterator[str | None]:
    """Probe guests come to these, one after the other; those that have not been tried yet."""
    left = iter(troubles)

    async def boot(_: GuestImage) -> str | None:
        return next(left)

    monkeypatch.setattr(accel, "_boot", boot)
    return left


@pytest.mark.parametrize(
    ("wanted", "age_s", "chosen"),
    [("auto", 599, "tcg"), ("auto", 601, "kvm"), ("kvm", 0, "kvm"), ("auto", -5, "kvm")],
)
async def test_a_failure_is_not_believed_for_long_and_a_success_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Wanted, age_s: float, chosen: str
) -> None:
    left = probes(monkeypatch, SLOW, None)
    assert (await choose_accel("auto", IMAGE, print)).name == "tcg"
    kept = tmp_path / "kvm-probe.json"
    written = kept.stat().st_mtime
    monkeypatch.setattr("time.time", lambda: written + age_s)
    assert (await choose_accel(wanted, IMAGE, print)).name == chosen
    assert (await choose_accel(wanted, IMAGE, print)).name == chosen
    assert len(list(left)) == (chosen == "tcg")


async def test_where_nothing_temporary_can_be_made_it_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    with pytest.raises(
        CouldNot, match=r"cannot be written \(No such file .*\); make room there or point TMPDIR"
    ):
        await choose_accel("auto", IMAGE, print)
